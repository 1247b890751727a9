//! The picture cut into tasks, and what comes back of each.

use hive_runtime::port::TaskRequest;

/// The path tracer.
pub const MODULE: &[u8] = include_bytes!("../../../../docs/examples/path-tracer/tile.wasm");
/// Width and height of a tile. Small enough to share out well, large enough that the work outweighs the way.
const TILE: (u32, u32) = (80, 60);
/// Bytes before the pixels: `HVT1`, x, y, width, height.
const HEAD: usize = 20;
/// Name of a tile's output file.
const FILE: &str = "tile.hvt";

/// A part of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub w: u32,
    /// Height.
    pub h: u32,
}

/// Cuts a picture of this size.
pub fn cut((width, height): (u32, u32)) -> Vec<Tile> {
    // Pictures far larger than the screen get larger tiles, so that a job stays a few thousand tasks.
    let grow = (width / (TILE.0 * 64)).max(height / (TILE.1 * 64)) + 1;
    let (tw, th) = (TILE.0 * grow, TILE.1 * grow);
    let mut tiles = Vec::new();
    for y in (0..height).step_by(th as usize) {
        for x in (0..width).step_by(tw as usize) {
            tiles.push(Tile {
                x,
                y,
                w: tw.min(width - x),
                h: th.min(height - y),
            });
        }
    }
    tiles
}

impl Tile {
    /// The task that renders it.
    pub fn task(&self, (width, height): (u32, u32), samples: u32) -> TaskRequest {
        let numbers = [width, height, self.x, self.y, self.w, self.h, samples];
        let mut args: Vec<String> = numbers.iter().map(u32::to_string).collect();
        args.push("{out}".into());
        TaskRequest {
            label: format!("{}x{} at {},{}", self.w, self.h, self.x, self.y),
            args,
            output_name: FILE.into(),
            ..TaskRequest::default()
        }
    }

    /// Its pixels, from the file a worker sent: a stranger's bytes, so every number is checked.
    pub fn pixels<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], String> {
        let rest = file
            .strip_prefix(b"HVT1")
            .ok_or("the file does not begin with HVT1")?;
        let mut numbers = rest
            .chunks_exact(4)
            .map(|c| c.iter().rev().fold(0_u32, |n, b| n << 8 | u32::from(*b)));
        for (what, expected) in [
            ("x", self.x),
            ("y", self.y),
            ("width", self.w),
            ("height", self.h),
        ] {
            let found = numbers.next().ok_or("the file is too short")?;
            if found != expected {
                return Err(format!("{what} is {found}, not {expected}"));
            }
        }
        let pixels = file.get(HEAD..).ok_or("the file is too short")?;
        let expected = self.w as usize * self.h as usize * 3;
        if pixels.len() != expected {
            return Err(format!("{} bytes of pixels, not {expected}", pixels.len()));
        }
        Ok(pixels)
    }

    /// Puts its pixels into the picture.
    pub fn place(&self, width: u32, picture: &mut [u8], pixels: &[u8]) {
        let line = self.w as usize * 3;
        for (row, source) in pixels.chunks_exact(line).enumerate() {
            let at = ((self.y as usize + row) * width as usize + self.x as usize) * 3;
            if let Some(target) = picture.get_mut(at..at + line) {
                target.copy_from_slice(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(t: &Tile, pixel: u8) -> Vec<u8> {
        let mut bytes = b"HVT1".to_vec();
        for n in [t.x, t.y, t.w, t.h] {
            bytes.extend(n.to_le_bytes());
        }
        bytes.extend(vec![pixel; (t.w * t.h * 3) as usize]);
        bytes
    }

    #[test]
    fn tiles_cover_every_pixel_once() {
        for size in [(640, 360), (16, 16), (81, 61), (16_384, 16_384)] {
            let tiles = cut(size);
            let area: u64 = tiles.iter().map(|t| u64::from(t.w) * u64::from(t.h)).sum();
            assert_eq!(area, u64::from(size.0) * u64::from(size.1));
            assert!(tiles.len() < 10_000);
        }
        let (w, h) = (200, 100);
        let mut picture = vec![0; w * h * 3];
        for t in cut((200, 100)) {
            let bytes = file(&t, 7);
            t.place(200, &mut picture, t.pixels(&bytes).unwrap());
        }
        assert!(picture.iter().all(|b| *b == 7));
    }

    #[test]
    fn wrong_files_are_refused() {
        let t = Tile {
            x: 0,
            y: 60,
            w: 4,
            h: 2,
        };
        let good = file(&t, 1);
        assert!(t.pixels(&good).is_ok());
        assert!(
            t.pixels(&good[..good.len() - 1])
                .unwrap_err()
                .contains("bytes of pixels")
        );
        assert!(t.pixels(&good[..10]).is_err());
        assert!(t.pixels(b"PNG").is_err());
        assert!(Tile { x: 80, ..t }.pixels(&good).unwrap_err().contains("x is 0"));
    }
}
