//! Decodes pictures as the unit does, for `tests/second_decoder`: reads paths from standard input, writes `NUMBER.ppm` for the
//! picture on line NUMBER into the directory that is named, and one line a picture to standard output.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;

use vehicle_classifierd::imaging::{Limits, decode};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("name the directory for the decoded pictures")?;
    let limits = Limits { pixels_max: 50_000_000 };
    let mut output = std::io::stdout().lock();
    for (number, path) in std::io::stdin().lock().lines().enumerate() {
        match decode(&std::fs::read(path?)?, "picture", &limits) {
            Ok(picture) => {
                let header = format!("P6 {} {} 255\n", picture.width(), picture.height());
                let file = Path::new(&directory).join(format!("{number}.ppm"));
                std::fs::write(file, [header.as_bytes(), &picture.to_rgb()].concat())?;
                writeln!(output, "decoded")?;
            }
            Err(error) => writeln!(output, "{} {}", error.kind().facts().status, error.message())?,
        }
    }
    Ok(())
}
