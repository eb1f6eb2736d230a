//! Circles of imports between the files of `src/`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Source, rust};

/// Groups of files that import each other in a circle: a ratchet.
const CIRCLES_MAX: usize = 3;

/// The files of `src/` that a file imports, by the paths it names.
fn imported_files(source: &Source, files: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for behind in source.code().split("crate::").skip(1) {
        let end = behind.find([';', '(', ')', ' ', '<', '>', ',']).unwrap_or(behind.len());
        let (path, group) = match behind.split_once("::{").filter(|(path, _)| !path.contains([';', '\n', ' ', ','])) {
            Some((path, rest)) => (path, rest.split('}').next().unwrap_or_default()),
            None => (&behind[..end], ""),
        };
        let whole = group.split(',').map(|name| format!("{path}::{}", name.trim()));
        for path in whole.chain([path.to_owned()]) {
            let parts: Vec<&str> = path.split("::").collect();
            // The longest part of the path that is a file; a face (`mod.rs`) only hands names on.
            let file = (2..=parts.len()).rev().map(|length| format!("src/{}.rs", parts[..length].join("/")));
            found.extend(file.into_iter().find(|file| files.contains(file.as_str())));
        }
    }
    found.remove(&source.path);
    found
}

#[test]
fn circles_of_imports_between_files_become_no_more() {
    let sources: Vec<_> = rust(&["src"]).into_iter().filter(|source| !source.is_test()).collect();
    let files: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let edges: BTreeMap<&str, BTreeSet<String>> =
        sources.iter().map(|source| (source.path.as_str(), imported_files(source, &files))).collect();
    let reached = |start: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(file) = next.pop() {
            next.extend(
                edges.get(file.as_str()).into_iter().flatten().filter(|file| seen.insert((*file).clone())).cloned(),
            );
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<String>> = files.iter().map(|file| (*file, reached(file))).collect();
    let circles: BTreeSet<Vec<&str>> = files
        .iter()
        .filter(|file| all[**file].contains(**file))
        .map(|file| {
            files.iter().filter(|other| all[*file].contains(**other) && all[**other].contains(*file)).copied().collect()
        })
        .collect();
    assert!(circles.len() <= CIRCLES_MAX, "{} circles, at most {CIRCLES_MAX}: {circles:#?}", circles.len());
}
