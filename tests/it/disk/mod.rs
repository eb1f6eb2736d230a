//! A disk that loses what was not synchronised, and one that fails: `tap.c` is preloaded into a process under test and writes
//! down what it does to its files; here that is played again up to a moment at which the power goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const SECTOR_BYTES: usize = 512;

/// Compiles the library; none where there is no C compiler that can.
pub fn tap(directory: &Path) -> PathBuf {
    let library = directory.join("tap.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/disk/tap.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).args(["-ldl"]).status();
    assert!(built.unwrap().success());
    library
}

/// One thing that was done to the disk, or an acknowledgement that somebody got.
#[derive(Debug)]
pub struct Deed {
    op: u8,
    path: String,
    offset: usize,
    data: Vec<u8>,
}

impl Deed {
    /// The text of an acknowledgement.
    pub fn acknowledged(&self) -> Option<String> {
        (self.op == b'A').then(|| String::from_utf8(self.data.clone()).unwrap())
    }
}

/// A record of an acknowledgement, to be appended to the same log in one write.
pub fn acknowledgement(text: &str) -> Vec<u8> {
    let mut record = vec![b'A', 0, 0];
    record.extend(0_u64.to_le_bytes());
    record.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    record.extend(text.as_bytes());
    record
}

pub fn deeds(log: &[u8]) -> Vec<Deed> {
    let (mut rest, mut found) = (log, Vec::new());
    while rest.len() >= 15 {
        let path_length = usize::from(u16::from_le_bytes(rest[1..3].try_into().unwrap()));
        let offset = u64::from_le_bytes(rest[3..11].try_into().unwrap()) as usize;
        let length = u32::from_le_bytes(rest[11..15].try_into().unwrap()) as usize;
        if rest.len() < 15 + path_length + length {
            break;
        }
        let path = String::from_utf8(rest[15..15 + path_length].to_vec()).unwrap();
        let data = rest[15 + path_length..15 + path_length + length].to_vec();
        found.push(Deed { op: rest[0], path, offset, data });
        rest = &rest[15 + path_length + length..];
    }
    found
}

/// A file: what is surely on the disk, and what was done since.
#[derive(Clone, Default)]
struct Inode {
    safe: Vec<u8>,
    since: Vec<(u8, usize, Vec<u8>)>,
}

impl Inode {
    fn apply(content: &mut Vec<u8>, op: u8, offset: usize, data: &[u8]) {
        if op == b'T' {
            content.resize(offset, 0);
            return;
        }
        if content.len() < offset + data.len() {
            content.resize(offset + data.len(), 0);
        }
        content[offset..offset + data.len()].copy_from_slice(data);
    }

    fn synchronise(&mut self) {
        for (op, offset, data) in std::mem::take(&mut self.since) {
            Self::apply(&mut self.safe, op, offset, &data);
        }
    }

    /// What may be found after a power cut: each sector that was not synchronised is there or not.
    fn after_cut(&self, random: &mut SmallRng, share: f64) -> Vec<u8> {
        let mut content = self.safe.clone();
        for (op, offset, data) in &self.since {
            if *op == b'T' {
                if random.random_bool(share) {
                    Self::apply(&mut content, *op, *offset, data);
                }
                continue;
            }
            let mut at = 0;
            while at < data.len() {
                let end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
                let end = end.min(data.len());
                if random.random_bool(share) {
                    Self::apply(&mut content, *op, offset + at, &data[at..end]);
                }
                at = end;
            }
        }
        content
    }
}

/// The files of a directory that was empty at first. Names count as safe once the directory was synchronised.
#[derive(Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
}

impl Disk {
    pub fn play(&mut self, deed: &Deed) {
        match deed.op {
            b'C' => {
                self.inodes.push(Inode::default());
                self.names.insert(deed.path.clone(), self.inodes.len() - 1);
            }
            b'U' => drop(self.names.remove(&deed.path)),
            b'R' => {
                if let Some(inode) = self.names.remove(&deed.path) {
                    self.names.insert(String::from_utf8(deed.data.clone()).unwrap(), inode);
                }
            }
            b'D' => self.safe_names = self.names.clone(),
            b'W' | b'T' => {
                if let Some(inode) = self.names.get(&deed.path) {
                    self.inodes[*inode].since.push((deed.op, deed.offset, deed.data.clone()));
                }
            }
            b'S' => {
                if let Some(inode) = self.names.get(&deed.path) {
                    self.inodes[*inode].synchronise();
                }
            }
            _ => {}
        }
    }

    /// Writes what is found after a power cut into a directory.
    pub fn cut(&self, into: &Path, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        // Nothing of it, half of it, almost all of it.
        let share = [0.0, 0.5, 0.9][usize::try_from(seed % 3).unwrap()];
        let names = if random.random_bool(share) { &self.names } else { &self.safe_names };
        for (path, inode) in names {
            let name = Path::new(path).file_name().unwrap();
            std::fs::write(into.join(name), self.inodes[*inode].after_cut(&mut random, share)).unwrap();
        }
    }
}
