//! Golden files: bytes that were once written down, in hexadecimal, and that must never change unnoticed.

use std::path::PathBuf;

/// Whether the golden files are to be written instead of compared.
pub fn writing() -> bool {
    std::env::var_os("HIVE_WRITE_GOLDEN").is_some()
}

/// The golden files of the crate under test.
pub fn folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
        .join("golden")
}

/// Holds the bytes against those of the file of this name.
pub fn compare(name: &str, bytes: &[u8]) {
    let text: String = bytes
        .chunks(48)
        .map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
        .collect();
    let path = folder().join(format!("{name}.hex"));
    if writing() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; write it with HIVE_WRITE_GOLDEN=1", path.display()));
    assert_eq!(kept, text, "{name}: the bytes have changed");
}

/// Every file there is one of these.
pub fn none_but(names: &[&str]) {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            names.contains(&name),
            "{} is compared with nothing",
            path.display()
        );
    }
}
