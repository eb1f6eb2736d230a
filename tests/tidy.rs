//! Holds the source tree to the rules of the house (`docs/ARCHITECTURE.md`). A rule that the tree does not keep yet has a
//! ratchet: a number that may only be lowered.

// A test that cannot go on says so by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/circles.rs"]
mod circles;

/// Who may import whom. Leaves may be imported by everybody and import only what is listed for them.
const EDGES: [(&str, &[&str]); 24] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "api",
            "auth",
            "capture",
            "classifier",
            "daemon",
            "imaging",
            "inference",
            "ledger",
            "pipeline",
            "place",
            "store",
            "sync",
        ],
    ),
    (
        "daemon",
        &[
            "api",
            "auth",
            "capture",
            "classifier",
            "coverage",
            "imaging",
            "inference",
            "pipeline",
            "place",
            "store",
            "sync",
        ],
    ),
    ("api", &["auth", "capture", "classifier", "imaging", "inference", "ledger", "report", "store", "sync"]),
    ("pipeline", &["classifier", "imaging", "inference", "traffic"]),
    ("traffic", &[]),
    ("inference", &["imaging", "classifier"]),
    ("capture", &["imaging"]),
    ("imaging", &[]),
    ("classifier", &["imaging"]),
    ("report", &[]),
    ("ledger", &[]),
    ("coverage", &["store"]),
    ("auth", &[]),
    ("store", &[]),
    ("sync", &["store"]),
    ("place", &[]),
    ("logging", &["config", "error"]),
    ("metrics", &["error"]),
    ("config", &["error"]),
    ("record", &["clock", "error"]),
    ("frame", &["clock"]),
    ("files", &["error"]),
    ("clock", &[]),
];
/// Nouns and cross-cutting parts that any module may import, as long as it is not one of them itself.
const LEAVES: [&str; 8] = ["record", "frame", "files", "config", "clock", "error", "metrics", "logging"];

/// What opens the definition of a type.
const TYPE_KEYWORDS: [&str; 4] = ["struct", "enum", "trait", "type"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// `#[allow]` and `#[expect]` attributes in the product; each gives its reason.
const EXCUSES_MAX: usize = 5;
/// Names that say nothing.
const EMPTY_NAMES: [&str; 9] =
    ["manager", "helper", "helpers", "util", "utils", "processor", "service", "info", "data"];

struct Source {
    /// Relative to the project, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Without unit tests: up to the first `#[cfg(test)]` that opens a module in the file.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.starts_with("tests/")
    }

    /// Module below `src/`: the first part of the path.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next()?.trim_end_matches(".rs"))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(directory: &Path, endings: &[&str], found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root().join(directory)) else { return };
    for entry in entries.map(|entry| entry.unwrap().path()) {
        let relative = entry.strip_prefix(root()).unwrap().to_path_buf();
        if entry.is_dir() {
            collect(&relative, endings, found);
        } else if endings.iter().any(|ending| relative.to_string_lossy().ends_with(ending)) {
            let path = relative.to_string_lossy().replace('\\', "/");
            found.push(Source { path, text: fs::read_to_string(&entry).unwrap() });
        }
    }
}

fn rust(directories: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for directory in directories {
        collect(Path::new(directory), &[".rs"], &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 5, "the sources are not where this test looks");
    found
}

fn none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

/// Names behind `crate::`, also inside `use crate::{a, b}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for behind in code.split("crate::").skip(1) {
        if let Some(group) = behind.strip_prefix('{') {
            names.extend(group.split('}').next().unwrap().split(',').map(|name| first_name(name.trim())));
        } else {
            names.insert(first_name(behind));
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}

#[test]
fn imports_point_downward() {
    let edges: BTreeMap<_, _> = EDGES.into_iter().collect();
    let modules: BTreeSet<&str> = edges.keys().copied().chain(LEAVES).collect();
    let mut offenders = Vec::new();
    for source in rust(&["src"]).iter().filter(|source| !source.is_test()) {
        let Some(module) = source.module().filter(|module| *module != "lib") else { continue };
        for name in imports(source.code()).iter().filter(|name| modules.contains(name.as_str()) && *name != module) {
            let leaf = !LEAVES.contains(&module) && LEAVES.contains(&name.as_str());
            if !leaf && !edges.get(module).is_some_and(|allowed| allowed.contains(&name.as_str())) {
                offenders.push(format!("{}: {module} → {name}", source.path));
            }
        }
    }
    none("imports that the edge table does not allow", &offenders);
}

#[test]
fn the_edge_table_names_the_modules_there_are_and_has_no_cycle() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let there: BTreeSet<_> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let listed: BTreeSet<_> =
        EDGES.iter().map(|(module, _)| *module).chain(LEAVES).filter(|module| *module != "main").collect();
    assert_eq!(there, listed);
    let edges: BTreeMap<_, _> = EDGES.into_iter().collect();
    for (start, _) in EDGES {
        let mut reached: Vec<&str> = edges[start].to_vec();
        let mut seen = BTreeSet::new();
        while let Some(next) = reached.pop() {
            assert_ne!(next, start, "{start} reaches itself");
            if seen.insert(next) {
                reached.extend(edges.get(next).copied().unwrap_or_default());
            }
        }
    }
}

#[test]
fn one_type_name_means_one_type() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in rust(&["src"]).iter().filter(|source| !source.is_test()) {
        for line in source.code().lines().filter(|line| line.starts_with("pub ") || line.starts_with("pub(")) {
            let mut words = line.split([' ', '<', '(', ';', ':']).skip_while(|word| !TYPE_KEYWORDS.contains(word));
            if let Some(name) = words.nth(1).filter(|_| !line.contains(" fn ") && !line.contains(" mod ")) {
                places.entry(name.to_owned()).or_default().push(source.path.clone());
            }
        }
    }
    assert!(places.len() > 100, "the types are not where this test looks");
    let doubled = places.into_iter().filter(|(_, places)| places.len() > 1);
    none(
        "names of more than one type",
        &doubled.map(|(name, places)| format!("{name}: {places:?}")).collect::<Vec<_>>(),
    );
}

#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let missing: Vec<_> = EDGES
        .iter()
        .filter(|(module, _)| !map.contains(&format!("`{module}")))
        .map(|(module, _)| (*module).to_owned())
        .collect();
    none("modules that docs/ARCHITECTURE.md does not name", &missing);
}

/// Names that the sources give to threads, without their numbers.
fn thread_names() -> BTreeSet<String> {
    let openings = [".name(\"", ".name(format!(\"", ".thread_name(\"", "spawn(\"", "reading(\"", "reading(format!(\""];
    let mut names = BTreeSet::new();
    for source in rust(&["src"]).iter().filter(|source| !source.is_test()) {
        for opening in openings {
            let found = source.code().split(opening).skip(1).filter_map(|behind| behind.split(['"', '{']).next());
            names.extend(found.map(|name| name.trim_end_matches('-').to_owned()));
        }
    }
    assert!(names.len() > 5, "the threads are not where this test looks");
    names
}

#[test]
fn the_map_names_every_thread_and_no_other() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let table = map.split("## Threads").nth(1).unwrap().split("\n## ").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| name.trim_end_matches(['*', 'N']).trim_end_matches('-').to_owned())
        .collect();
    assert_eq!(named, thread_names());
}

#[test]
fn files_and_functions_stay_short() {
    let mut offenders = Vec::new();
    for source in rust(&["src", "tests", "benches"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offenders.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.path));
        }
        for (name, length) in functions(&source.text) {
            if length >= FUNCTION_LINES_MAX {
                offenders.push(format!(
                    "{}: fn {name} has {length} lines, less than {FUNCTION_LINES_MAX} are allowed",
                    source.path
                ));
            }
        }
    }
    none("too long", &offenders);
}

/// Functions with their lengths, by the indentation that rustfmt gives their closing braces.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let Some(behind) =
            code.split_once("fn ").filter(|(before, _)| before.split(' ').all(is_qualifier)).map(|(_, b)| b)
        else {
            continue;
        };
        if code.ends_with("{}") || code.ends_with(';') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == close) {
            found.push((first_name(behind), length + 1));
        }
    }
    found
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "" | "pub" | "async" | "const" | "unsafe" | "pub(super)" | "pub(crate)")
}

#[test]
fn every_file_says_what_it_is_and_has_a_name_that_does() {
    let mut offenders = Vec::new();
    for source in rust(&["src", "tests", "benches"]) {
        if !source.text.starts_with("//!") && !source.path.ends_with("/tests.rs") {
            offenders.push(format!("{}: no module documentation", source.path));
        }
        if source.path.split(['/', '.']).any(|part| EMPTY_NAMES.contains(&part)) {
            offenders.push(format!("{}: a name that says nothing", source.path));
        }
    }
    none("undocumented or badly named", &offenders);
}

/// (what, where it is allowed, texts that give it away)
const PLACES: [(&str, &[&str], &[&str]); 7] = [
    ("Redis", &["src/sync/"], &["redis::aio", "redis::Client"]),
    ("SQL", &["src/store/"], &["SELECT ", "INSERT INTO", "DELETE FROM", "PRAGMA ", "rusqlite"]),
    ("TFLite", &["src/classifier/tflite.rs"], &["tflitec"]),
    ("unsafe code", &[], &["unsafe {", "unsafe fn", "unsafe impl"]),
    ("outward types", &["src/api/", "src/report/wire.rs", "src/ledger/wire.rs"], &["ToSchema"]),
    ("service manager and journal", &["src/daemon/", "src/logging/journal.rs"], &["systemd::"]),
    ("process exit", &["src/daemon.rs"], &["process::exit"]),
];

#[test]
fn things_stay_in_their_places() {
    let mut offenders = Vec::new();
    for source in rust(&["src"]) {
        for (what, allowed, texts) in PLACES {
            let at_home = allowed.iter().any(|place| source.path.starts_with(place));
            if let Some(text) = texts.iter().find(|text| !at_home && source.code().contains(**text)) {
                offenders.push(format!("{}: {what} ({text:?})", source.path));
            }
        }
        let statics =
            source.code().lines().filter(|line| line.starts_with("static ") || line.starts_with("pub static "));
        offenders.extend(statics.map(|line| format!("{}: a static: {line}", source.path)));
    }
    none("in the wrong place", &offenders);
}

#[test]
fn outward_types_live_in_wire_files() {
    let serialised = |source: &Source| {
        source
            .code()
            .lines()
            .any(|line| line.contains("derive(") && line.contains("Serialize,") && line.contains("ToSchema"))
    };
    let offenders: Vec<_> = rust(&["src"])
        .iter()
        .filter(|source| {
            serialised(source) && !source.path.ends_with("wire.rs") && source.path != "src/api/http/error.rs"
        })
        .map(|source| source.path.clone())
        .collect();
    none("types that are serialised outward outside a wire.rs", &offenders);
}

#[test]
fn tests_neither_sleep_nor_are_ignored() {
    let mut offenders = Vec::new();
    for source in rust(&["src", "tests"]).iter().filter(|source| source.path != "tests/tidy.rs") {
        for banned in ["#[ignore", "thread::sleep", "time::sleep"] {
            if source.text.contains(banned) {
                offenders.push(format!("{}: {banned}", source.path));
            }
        }
    }
    none("sleeping or ignored", &offenders);
}

#[test]
fn excuses_are_few_and_nothing_is_left_for_later() {
    let sources = rust(&["src", "tests", "benches"]);
    let mut excuses = Vec::new();
    let mut offenders = Vec::new();
    for source in sources.iter().filter(|source| source.path != "tests/tidy.rs") {
        let product = source.path.starts_with("src/");
        for (number, line) in source.text.lines().enumerate() {
            let place = format!("{}:{}", source.path, number + 1);
            if product
                && ["allow(", "expect("]
                    .iter()
                    .any(|excuse| line.trim_start().trim_start_matches(['#', '!']).starts_with(&format!("[{excuse}")))
            {
                excuses.push(place.clone());
            }
            if ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!("].iter().any(|mark| line.contains(mark)) {
                offenders.push(format!("{place}: {}", line.trim()));
            }
        }
    }
    assert!(
        excuses.len() <= EXCUSES_MAX,
        "{} attributes that silence a lint, at most {EXCUSES_MAX}:\n  {}",
        excuses.len(),
        excuses.join("\n  ")
    );
    none("left for later", &offenders);
}

/// Every test there is, by its function's name.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in rust(&["src", "tests"]) {
        let lines: Vec<_> = source.text.lines().map(str::trim_start).collect();
        for at in lines.iter().enumerate().filter(|(_, line)| **line == "#[test]").map(|(at, _)| at) {
            let name = lines[at..].iter().find_map(|line| line.strip_prefix("fn ")?.split('(').next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_attack_on_the_security_page_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let tables = page.split("## Attacks and answers").nth(1).unwrap().split("### By hand").next().unwrap();
    let tests = tests();
    let (mut offenders, mut rows) = (Vec::new(), 0);
    for row in tables.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")).map(str::trim_end) {
        let Some((item, named)) = row
            .trim_matches('|')
            .split_once('|')
            .map(|(item, rest)| (item.trim(), rest.rsplit('|').next().unwrap_or_default().trim()))
        else {
            continue;
        };
        if item == "item" {
            continue;
        }
        rows += 1;
        let names: Vec<_> = named.split('`').map(str::trim).filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            offenders.push(format!("{item}: no test"));
        }
        let missing = names.into_iter().filter(|name| !tests.contains(*name));
        offenders.extend(missing.map(|name| format!("{item}: there is no test {name}")));
    }
    assert!(rows >= 25, "the tables are not where this test looks");
    none("attacks without their tests", &offenders);
}

#[test]
fn the_tree_names_no_machine_of_ours() {
    let mut files = Vec::new();
    for directory in ["src", "tests", "benches", "fuzz/checks", "docs", "models", ".ci", ".cargo", "systemd", "yocto"] {
        collect(
            Path::new(directory),
            &[".rs", ".md", ".py", ".json", ".toml", ".txt", ".html", ".js", ".service", "setup", "run", "stage"],
            &mut files,
        );
    }
    for file in ["README.md", "Makefile", "Cargo.toml", "build.rs"] {
        files.push(Source { path: file.into(), text: fs::read_to_string(root().join(file)).unwrap_or_default() });
    }
    let banned = ["/work/", concat!("../", "shared"), "/root/"];
    let mut offenders = Vec::new();
    for file in files.iter().filter(|file| file.path != "tests/tidy.rs") {
        offenders.extend(
            banned.iter().filter(|text| file.text.contains(**text)).map(|text| format!("{}: {text}", file.path)),
        );
    }
    none("paths of one machine", &offenders);
}
