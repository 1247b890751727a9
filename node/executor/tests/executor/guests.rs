//! Guests in WebAssembly text.

/// A module with a memory, the WASI calls it uses and its code.
pub fn guest(body: &str) -> String {
    const CALLS: &[(&str, &str)] = &[
        ("fd_write", "(param i32 i32 i32 i32) (result i32)"),
        ("fd_read", "(param i32 i32 i32 i32) (result i32)"),
        ("fd_close", "(param i32) (result i32)"),
        ("fd_filestat_set_size", "(param i32 i64) (result i32)"),
        (
            "path_open",
            "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)",
        ),
        ("path_create_directory", "(param i32 i32 i32) (result i32)"),
        ("path_symlink", "(param i32 i32 i32 i32 i32) (result i32)"),
        ("path_unlink_file", "(param i32 i32 i32) (result i32)"),
        ("path_rename", "(param i32 i32 i32 i32 i32 i32) (result i32)"),
        ("random_get", "(param i32 i32) (result i32)"),
        ("clock_time_get", "(param i32 i64 i32) (result i32)"),
        ("poll_oneoff", "(param i32 i32 i32 i32) (result i32)"),
        ("args_get", "(param i32 i32) (result i32)"),
        ("args_sizes_get", "(param i32 i32) (result i32)"),
        ("environ_get", "(param i32 i32) (result i32)"),
        ("environ_sizes_get", "(param i32 i32) (result i32)"),
        ("proc_exit", "(param i32)"),
    ];
    let imports: String = CALLS
        .iter()
        .filter(|(name, _)| body.contains(&format!("${name}")))
        .map(|(name, ty)| format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} {ty}))\n"))
        .collect();
    format!(
        "(module {imports} (memory (export \"memory\") 2)
         ;; writes $len bytes at $at to $fd
         {put}
         {body})",
        put = if body.contains("$put") {
            "(func $put (param $fd i32) (param $at i32) (param $len i32)
               (i32.store (i32.const 8) (local.get $at)) (i32.store (i32.const 12) (local.get $len))
               (if (call $fd_write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 0)) (then unreachable)))"
        } else {
            ""
        }
    )
    .replace("$imports", "")
}

pub const NOOP: &str = "(module (func (export \"_start\")))";

pub const SPIN: &str = "(module (func (export \"_start\") (loop (br 0))))";

/// Exits with this code.
pub fn exit(code: i32) -> String {
    guest(&format!(
        "(func (export \"_start\") (call $proc_exit (i32.const {code})))"
    ))
}

/// Writes a text to standard output (1) or error (2); $fd_write is named for the import.
pub fn say(fd: u32, text: &str) -> String {
    guest(&format!(
        "(data (i32.const 1000) \"{text}\") ;; $fd_write
         (func (export \"_start\") (call $put (i32.const {fd}) (i32.const 1000) (i32.const {})))",
        text.replace("\\n", "\n").len()
    ))
}

/// Writes 64 KiB to standard output without end.
pub fn flood() -> String {
    guest(
        ";; $fd_write
         (func (export \"_start\") (loop (call $put (i32.const 1) (i32.const 1000) (i32.const 65000)) (br 0)))",
    )
}

/// Opens path $name (relative to the directory of descriptor 3) with creation; the descriptor is at 4.
pub const OPEN: &str = "(func $open (param $at i32) (param $len i32)
   (if (call $path_open (i32.const 3) (i32.const 0) (local.get $at) (local.get $len)
         (i32.const 1) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 4)) (then unreachable)))";

/// Writes `text` to the file `name` below the first preopened directory.
pub fn write_file(name: &str, text: &str) -> String {
    guest(&format!(
        "(data (i32.const 1000) \"{name}\") (data (i32.const 2000) \"{text}\") {OPEN} ;; $fd_write
         (func (export \"_start\")
           (call $open (i32.const 1000) (i32.const {}))
           (call $put (i32.load (i32.const 4)) (i32.const 2000) (i32.const {})))",
        name.len(),
        text.len()
    ))
}

/// Copies a descriptor, or a file below the first preopened directory, to standard output.
pub fn cat(name: Option<&str>) -> String {
    let (data, open) = match name {
        None => (String::new(), "(i32.store (i32.const 4) (i32.const 0))".to_owned()),
        Some(name) => (
            format!("(data (i32.const 1000) \"{name}\")"),
            format!(
                "(if (call $path_open (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const {}) (i32.const 0)
                   (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 4)) (then (call $proc_exit (i32.const 44))))",
                name.len()
            ),
        ),
    };
    guest(&format!(
        "{data} ;; $fd_write
         (func (export \"_start\")
           {open}
           (loop $more
             (i32.store (i32.const 8) (i32.const 4096)) (i32.store (i32.const 12) (i32.const 4096))
             (if (call $fd_read (i32.load (i32.const 4)) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))
             (if (i32.load (i32.const 16)) (then
               (call $put (i32.const 1) (i32.const 4096) (i32.load (i32.const 16))) (br $more)))))"
    ))
}

/// Creates files 00000, 00001, … below the first preopened directory, `count` of them.
pub fn many_files(count: u32) -> String {
    guest(&format!(
        "{OPEN}
         (func (export \"_start\") (local $n i32) (local $v i32) (local $p i32)
           (loop $next
             (local.set $v (local.get $n)) (local.set $p (i32.const 1007))
             (loop $digit
               (i32.store8 (local.get $p) (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10))))
               (local.set $v (i32.div_u (local.get $v) (i32.const 10)))
               (local.set $p (i32.sub (local.get $p) (i32.const 1)))
               (br_if $digit (i32.ge_u (local.get $p) (i32.const 1000))))
             (call $open (i32.const 1000) (i32.const 8))
             (drop (call $fd_close (i32.load (i32.const 4))))
             (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if $next (i32.lt_u (local.get $n) (i32.const {count})))))"
    ))
}

/// Sleeps this many milliseconds.
pub fn sleep(ms: u64) -> String {
    guest(&format!(
        "(func (export \"_start\")
           (i32.store (i32.const 1016) (i32.const 1)) (i64.store (i32.const 1024) (i64.const {}))
           (if (call $poll_oneoff (i32.const 1000) (i32.const 2000) (i32.const 1) (i32.const 3000)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 3000)) (i32.const 1)) (then unreachable)))",
        ms * 1_000_000
    ))
}
