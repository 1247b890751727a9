//! Programs in WebAssembly text.

/// The WASI calls guests use.
const CALLS: &[(&str, &str)] = &[
    ("fd_write", "(param i32 i32 i32 i32) (result i32)"),
    ("fd_read", "(param i32 i32 i32 i32) (result i32)"),
    (
        "path_open",
        "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
    ),
    ("poll_oneoff", "(param i32 i32 i32 i32) (result i32)"),
    ("args_get", "(param i32 i32) (result i32)"),
    ("args_sizes_get", "(param i32 i32) (result i32)"),
    ("proc_exit", "(param i32)"),
];

/// Writes $len bytes at $at to $fd.
const PUT: &str = "(func $put (param $fd i32) (param $at i32) (param $len i32)
  (i32.store (i32.const 8) (local.get $at)) (i32.store (i32.const 12) (local.get $len))
  (if (call $fd_write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 0)) (then unreachable)))";

/// Sleeps $ms milliseconds.
const NAP: &str = "(func $nap (param $ms i64)
  (i32.store (i32.const 1016) (i32.const 1))
  (i64.store (i32.const 1024) (i64.mul (local.get $ms) (i64.const 1000000)))
  (if (call $poll_oneoff (i32.const 1000) (i32.const 2000) (i32.const 1) (i32.const 3000)) (then unreachable)))";

/// Reads up to 4096 bytes of standard input to 4096; how many is at 16.
const TAKE: &str = "(func $take
  (i32.store (i32.const 8) (i32.const 4096)) (i32.store (i32.const 12) (i32.const 4096))
  (if (call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable)))";

/// A module of this body with two pages of memory, whatever it uses included.
fn guest(body: &str) -> String {
    let mut text = body.to_owned();
    for (name, function) in [("$put", PUT), ("$nap", NAP), ("$take", TAKE)] {
        if body.contains(name) {
            text = format!("{function}\n{text}");
        }
    }
    let imports: String = CALLS
        .iter()
        .filter(|(name, _)| text.contains(&format!("${name}")))
        .map(|(name, ty)| format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} {ty}))\n"))
        .collect();
    format!("(module {imports} (memory (export \"memory\") 2) {text})")
}

/// Ends at once.
pub const NOOP: &str = "(module (func (export \"_start\")))";
/// Never ends.
pub const SPIN: &str = "(module (func (export \"_start\") (loop (br 0))))";
/// Takes memory until it is refused, then goes on without.
pub const HOG: &str = "(module (memory (export \"memory\") 1)
  (func (export \"_start\")
    (loop (br_if 0 (i32.ge_s (memory.grow (i32.const 64)) (i32.const 0)))) unreachable))";
/// Wants what no node has.
pub const STRANGE: &str = "(module (import \"env\" \"gpu_launch\" (func (param i32 f64) (result i64)))
  (import \"wasi_snapshot_preview1\" \"sched_yield\" (func (result i32)))
  (func (export \"_start\")))";

/// Says a text and ends with this code.
pub fn say(text: &str, code: i32) -> String {
    guest(&format!(
        "(data (i32.const 100) \"{text}\")
         (func (export \"_start\") (call $put (i32.const 1) (i32.const 100) (i32.const {}))
           (call $proc_exit (i32.const {code})))",
        text.len()
    ))
}

/// Says a text, sleeps, says another.
pub fn say_nap_say(first: &str, ms: u64, second: &str) -> String {
    guest(&format!(
        "(data (i32.const 100) \"{first}\\n\") (data (i32.const 200) \"{second}\\n\")
         (func (export \"_start\") (call $put (i32.const 1) (i32.const 100) (i32.const {}))
           (call $nap (i64.const {ms}))
           (call $put (i32.const 1) (i32.const 200) (i32.const {})))",
        first.len() + 1,
        second.len() + 1
    ))
}

/// Sleeps, then copies standard input to standard output.
pub fn nap_cat(ms: u64) -> String {
    guest(&format!(
        "(func (export \"_start\") (call $nap (i64.const {ms}))
           (loop $more (call $take)
             (if (i32.load (i32.const 16)) (then
               (call $put (i32.const 1) (i32.const 4096) (i32.load (i32.const 16))) (br $more)))))"
    ))
}

/// Takes its input, sleeps `ms`, or `long` when the input has more than this many bytes, and says it again.
pub fn nap_by_length(bytes: u32, ms: u64, long: u64) -> String {
    guest(&format!(
        "(func (export \"_start\") (call $take)
           (call $nap (select (i64.const {long}) (i64.const {ms})
             (i32.gt_u (i32.load (i32.const 16)) (i32.const {bytes}))))
           (call $put (i32.const 1) (i32.const 4096) (i32.load (i32.const 16))))"
    ))
}

/// Says numbers of three digits, one a line, sleeping after each.
pub fn count(lines: u32, ms: u64) -> String {
    let digit = |at: u32, by: u32| {
        format!(
            "(i32.store8 (i32.const {at}) (i32.add (i32.const 48)
               (i32.rem_u (i32.div_u (local.get $n) (i32.const {by})) (i32.const 10))))"
        )
    };
    let digits: String = [(100, 100), (101, 10), (102, 1)]
        .map(|(at, by)| digit(at, by))
        .concat();
    guest(&format!(
        "(func (export \"_start\") (local $n i32)
           (i32.store8 (i32.const 103) (i32.const 10))
           (loop $next {digits}
             (call $put (i32.const 1) (i32.const 100) (i32.const 4))
             (call $nap (i64.const {ms}))
             (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if $next (i32.lt_u (local.get $n) (i32.const {lines})))))"
    ))
}

/// Ends with 3 when standard input begins with `x`, else says `fine`.
pub fn picky() -> String {
    guest(
        "(data (i32.const 100) \"fine\\n\")
         (func (export \"_start\") (call $take)
           (if (i32.load (i32.const 16)) (then
             (if (i32.eq (i32.load8_u (i32.const 4096)) (i32.const 120)) (then (call $proc_exit (i32.const 3))))))
           (call $put (i32.const 1) (i32.const 100) (i32.const 5)))",
    )
}

/// Writes to standard output without end.
pub fn flood() -> String {
    guest(
        "(func (export \"_start\") (loop (call $put (i32.const 1) (i32.const 1000) (i32.const 65000)) (br 0)))",
    )
}

/// Writes `a` and `d/b` would need folders; two files `a` and `b` below the output folder.
pub fn two_files() -> String {
    guest(
        "(data (i32.const 100) \"out/a\") (data (i32.const 110) \"out/b\") (data (i32.const 120) \"first\") (data (i32.const 130) \"second\")
         (func $file (param $name i32) (param $at i32) (param $len i32) (local $dir i32)
           ;; the output folder is one of the open ones: the first that lets a file be made
           (local.set $dir (i32.const 3))
           (block $made (loop $next
             (br_if $made (i32.eqz (call $path_open (local.get $dir) (i32.const 0) (local.get $name) (i32.const 1)
               (i32.const 1) (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 4))))
             (local.set $dir (i32.add (local.get $dir) (i32.const 1)))
             (if (i32.gt_u (local.get $dir) (i32.const 8)) (then unreachable))
             (br $next)))
           (call $put (i32.load (i32.const 4)) (local.get $at) (local.get $len)))
         (func (export \"_start\")
           (call $file (i32.const 104) (i32.const 120) (i32.const 5))
           (call $file (i32.const 114) (i32.const 130) (i32.const 6)))",
    )
}

/// Says its arguments, one a line.
pub fn echo_args() -> String {
    guest(
        "(func (export \"_start\") (local $n i32) (local $p i32) (local $e i32)
           (drop (call $args_sizes_get (i32.const 32) (i32.const 36)))
           (drop (call $args_get (i32.const 5000) (i32.const 6000)))
           (local.set $n (i32.const 1))
           (block $end (loop $next
             (br_if $end (i32.ge_u (local.get $n) (i32.load (i32.const 32))))
             (local.set $p (i32.load (i32.add (i32.const 5000) (i32.mul (local.get $n) (i32.const 4)))))
             (local.set $e (local.get $p))
             (block $z (loop $c (br_if $z (i32.eqz (i32.load8_u (local.get $e))))
               (local.set $e (i32.add (local.get $e) (i32.const 1))) (br $c)))
             (i32.store8 (local.get $e) (i32.const 10))
             (call $put (i32.const 1) (local.get $p) (i32.sub (i32.add (local.get $e) (i32.const 1)) (local.get $p)))
             (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $next))))",
    )
}

/// A small module that is slow to compile: functions of many locals and branches.
pub fn bomb(functions: usize, statements: usize) -> String {
    let locals = " i64".repeat(200);
    let mut text = String::from("(module (func (export \"_start\"))");
    for f in 0..functions {
        text.push_str(&format!("(func $f{f} (param i64) (result i64) (local{locals})"));
        for s in 0..statements {
            let (a, b, c) = (s % 200, (s * 7 + 1) % 200, (s * 13 + 5) % 200);
            text.push_str(&format!(
                "(if (i64.eqz (local.get {a})) (then (local.set {b} (i64.div_u (local.get {c}) (local.get {a}))))
                 (else (local.set {c} (i64.mul (local.get {b}) (local.get {a})))))"
            ));
        }
        text.push_str("(local.get 1))");
    }
    text.push(')');
    text
}
