//! Gives back what only the start needed: an idle daemon runs through less than half of the pages of code that
//! brought it up, and the rest would count as its memory for as long as it lives.
//!
//! Only the mapping is undone. The pages stay in the system's cache as long as there is room, and code that is
//! needed again after all comes back by itself.

use std::{fs, ops::Range, time::Duration};

/// By then a node has started, joined, and met its first peers.
const FIRST: Duration = Duration::from_secs(20);
/// Work brings code back that an idle node needs no more.
const EVERY: Duration = Duration::from_secs(600);
/// Mappings of the program looked at; it has five.
const MOST: usize = 16;

/// Trims this process after its start and from time to time, until dropped.
pub(super) async fn from_time_to_time() {
    let mut due = tokio::time::interval_at(tokio::time::Instant::now() + FIRST, EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        give_back();
    }
}

/// Undoes the mappings of the program's code and constants; they are made again page by page when needed.
fn give_back() {
    // Without /proc there is nothing to be had, and nothing lost.
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    let before = resident(&maps);
    for range in untouched(&maps, give_back as fn() as usize) {
        drop_pages(range);
    }
    let after = fs::read_to_string("/proc/self/smaps").map_or(0, |maps| resident(&maps));
    tracing::debug!(target: "hive::daemon", before, after, "pages of the program given back; KiB resident");
}

#[cfg(target_os = "linux")]
fn drop_pages(range: Range<usize>) {
    // SAFETY: the range is one whole private mapping of this program's own file that nobody may write and that has no
    // page of its own (`untouched`), so that every page is the file's and is read from there again when it is
    // touched. The system keeps the file of a running program from being written.
    #[allow(unsafe_code)]
    let done = unsafe {
        rustix::mm::madvise(
            std::ptr::with_exposed_provenance_mut(range.start),
            range.len(),
            rustix::mm::Advice::LinuxDontNeed,
        )
    };
    if let Err(e) = done {
        tracing::debug!(target: "hive::daemon", "the program's pages stay: {e}");
    }
}

#[cfg(not(target_os = "linux"))]
fn drop_pages(_: Range<usize>) {}

/// One mapping, as `smaps` (proc(5)) tells it.
struct Mapping<'a> {
    at: Range<usize>,
    modes: &'a str,
    /// Device and inode: the path may have been replaced since, or hold spaces.
    file: (&'a str, &'a str),
    fields: Vec<(&'a str, usize)>,
}

impl Mapping<'_> {
    fn kib(&self, field: &str) -> Option<usize> {
        let found = self.fields.iter().find(|(name, _)| *name == field);
        found.map(|(_, kib)| *kib)
    }
}

fn mappings(smaps: &str) -> Vec<Mapping<'_>> {
    let mut all: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(name) = first.strip_suffix(':') {
            if let (Some(mapping), Some(Ok(kib))) = (all.last_mut(), words.next().map(str::parse)) {
                mapping.fields.push((name, kib));
            }
            continue;
        }
        let ends = first.split_once('-').and_then(|(from, to)| {
            let hex = |text| usize::from_str_radix(text, 16).ok();
            Some(hex(from)?..hex(to)?)
        });
        if let (Some(at), Some(modes), Some(_), Some(device), Some(inode)) =
            (ends, words.next(), words.next(), words.next(), words.next())
        {
            all.push(Mapping {
                at,
                modes,
                file: (device, inode),
                fields: Vec::new(),
            });
        }
    }
    all
}

/// The mappings of the file that holds `code` which are as they are in the file: private, not to be written, and
/// without a page of their own (relocations and a debugger's breakpoints make such pages; they would be lost).
fn untouched(smaps: &str, code: usize) -> Vec<Range<usize>> {
    let all = mappings(smaps);
    let Some(own) = all.iter().find(|m| m.at.contains(&code)) else {
        return Vec::new();
    };
    let pure = |m: &&Mapping<'_>| {
        let modes = m.modes.as_bytes();
        m.file == own.file
            && m.file.1 != "0"
            && modes.get(1) == Some(&b'-')
            && modes.get(3) == Some(&b'p')
            && m.kib("Anonymous") == Some(0)
    };
    all.iter().filter(pure).map(|m| m.at.clone()).take(MOST).collect()
}

fn resident(smaps: &str) -> usize {
    mappings(smaps).iter().filter_map(|m| m.kib("Rss")).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::{fs::File, os::unix::fs::FileExt};

    const MAPS: &str = "\
1000-3000 r--p 00000000 fe:00 77                         /opt/a b/hivenode
Rss:                   8 kB
Anonymous:             0 kB
3000-9000 r-xp 00002000 fe:00 77                         /opt/a b/hivenode (deleted)
Rss:                  24 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
9000-a000 r--p 00008000 fe:00 77                         /opt/a b/hivenode
Rss:                   4 kB
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 77                         /opt/a b/hivenode
Anonymous:             0 kB
b000-c000 r-xp 00000000 fe:00 78                         /lib/libc.so.6
Anonymous:             0 kB
c000-d000 r-xs 00000000 fe:00 77                         /opt/a b/hivenode
Anonymous:             0 kB
d000-e000 r--p 00000000 00:00 0
Anonymous:             0 kB
e000-f000 r--p 00000000 fe:00 77                         /opt/a b/hivenode
";

    #[test]
    fn only_what_is_as_in_the_file_is_given_back() {
        assert_eq!(untouched(MAPS, 0x3100), [0x1000..0x3000, 0x3000..0x9000]);
        assert!(untouched(MAPS, 0xd100).is_empty(), "not of a file");
        assert!(untouched(MAPS, 0xffff).is_empty(), "nowhere");
        assert!(untouched("garbage\n-\nRss: x kB\n1-2\n", 1).is_empty());
        assert_eq!(resident(MAPS), 36);
    }

    #[test]
    fn the_program_goes_on_with_fewer_pages() {
        let smaps = || fs::read_to_string("/proc/self/smaps").unwrap();
        let ranges = untouched(&smaps(), give_back as fn() as usize);
        let code = ranges.iter().find(|r| r.contains(&(give_back as fn() as usize)));
        let code = code.expect("this code is mapped").clone();
        // Reading through the system makes the pages resident.
        let most = code.len().min(16 << 20);
        let mut bytes = vec![0; most];
        File::open("/proc/self/mem")
            .unwrap()
            .read_exact_at(&mut bytes, code.start as u64)
            .unwrap();
        let of = |smaps: &str| {
            let all = mappings(smaps);
            all.iter()
                .find(|m| m.at == code)
                .and_then(|m| m.kib("Rss"))
                .unwrap()
        };
        let before = of(&smaps());
        assert!(before * 1024 >= most, "{before}");
        give_back();
        let after = of(&smaps());
        assert!(after < before * 3 / 4, "{before} KiB before, {after} after");
        let mut again = vec![0; most];
        let mem = File::open("/proc/self/mem").unwrap();
        mem.read_exact_at(&mut again, code.start as u64).unwrap();
        assert_eq!(bytes, again, "the same code as before");
    }
}
