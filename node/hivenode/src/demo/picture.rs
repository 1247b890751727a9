//! The finished picture as a PNG file.

use crate::output::CliError;
use std::{fs::File, io::BufWriter, path::Path};

/// Writes eight-bit RGB pixels; the file appears whole or not at all.
pub fn write(path: &Path, (width, height): (u32, u32), pixels: &[u8]) -> Result<(), CliError> {
    let failed =
        |why: String| CliError::internal("demo.picture", format!("cannot write {}: {why}", path.display()));
    let part = path.with_extension("png.part");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| failed(e.to_string()))?;
    }
    let encode = || -> Result<(), String> {
        let file = File::create(&part).map_err(|e| e.to_string())?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
        writer.write_image_data(pixels).map_err(|e| e.to_string())?;
        writer.finish().map_err(|e| e.to_string())?;
        std::fs::rename(&part, path).map_err(|e| e.to_string())
    };
    encode().map_err(|why| {
        // The error matters more than the rest.
        let _ = std::fs::remove_file(&part);
        failed(why)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_written_picture_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/x.png");
        let pixels: Vec<u8> = (0..18).collect();
        write(&path, (3, 2), &pixels).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut back = vec![0; 18];
        let info = reader.next_frame(&mut back).unwrap();
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(back, pixels);
        // Too few pixels: an error, and no file.
        let other = dir.path().join("y.png");
        assert!(write(&other, (3, 2), &pixels[..3]).is_err());
        assert!(!other.exists());
    }
}
