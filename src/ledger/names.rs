//! The names that filters of the ledger may use, and times as people write them. A name that nothing has ever carried is a
//! slip of the pen: an empty answer would pass for the truth.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::config::TrafficConfig;
use crate::error::{Error, Result, nearest};
use crate::ledger::interval::Way;
use crate::record::{Count, UNCLASSIFIED};

/// The lines, directions and classes there are, or were.
#[derive(Clone, Debug, Default)]
pub struct Names {
    lines: BTreeSet<String>,
    directions: BTreeSet<String>,
    classes: BTreeSet<String>,
}

impl Names {
    /// Those of the configuration and of the active model.
    #[must_use]
    pub fn configured<'a>(traffic: &TrafficConfig, labels: impl IntoIterator<Item = &'a str>) -> Self {
        let directions = traffic.lines.iter().flat_map(|line| [line.forward.clone(), line.backward.clone()]);
        Self {
            lines: traffic.lines.iter().map(|line| line.name.clone()).collect(),
            directions: directions.collect(),
            classes: labels.into_iter().chain([UNCLASSIFIED]).map(str::to_owned).collect(),
        }
    }

    /// Adds what was counted before.
    #[must_use]
    pub fn with_history(mut self, kinds: impl IntoIterator<Item = Count>) -> Self {
        for kind in kinds {
            self.lines.extend(kind.line);
            self.directions.extend(kind.direction);
            self.classes.insert(kind.class);
        }
        self
    }

    /// # Errors
    /// Validation for a line that there never was.
    pub fn check_line(&self, name: &str) -> Result<()> {
        known("line", name, &self.lines)
    }

    /// # Errors
    /// Validation for a direction that there never was.
    pub fn check_direction(&self, name: &str) -> Result<()> {
        known("direction", name, &self.directions)
    }

    /// # Errors
    /// Validation for a class that there never was.
    pub fn check_class(&self, name: &str) -> Result<()> {
        known("class", name, &self.classes)
    }
}

fn known(kind: &str, name: &str, known: &BTreeSet<String>) -> Result<()> {
    /// A message is no place for a long list.
    const NAMED_MAX: usize = 20;
    if known.contains(name) {
        return Ok(());
    }
    let there = || known.iter().map(String::as_str);
    let hint = nearest(name, there()).map(|near| format!(" Did you mean {near:?}?")).unwrap_or_default();
    let named: Vec<_> = there().take(NAMED_MAX).collect();
    let list = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    let more = if known.len() > NAMED_MAX { ", …" } else { "" };
    Err(Error::validation(format!("There is no {kind} {name:?}.{hint} There are: {list}{more}."))
        .detail("parameter", kind))
}

/// Lines with their directions as they are configured: they are there even when nobody takes them.
#[must_use]
pub fn ways(traffic: &TrafficConfig) -> Vec<Way> {
    let way = |line: &str, direction: &str| Way { line: Some(line.into()), direction: Some(direction.into()) };
    let lines = traffic.lines.iter();
    lines.flat_map(|line| [way(&line.name, &line.forward), way(&line.name, &line.backward)]).collect()
}

/// A moment in RFC 3339, or the start of a day of the zone. The plus of an offset arrives as a space where an address holds it
/// unescaped.
///
/// # Errors
/// Validation, saying what to write.
pub fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp> {
    let day = |date: Date| date.to_zoned_datetime(zone.clone()).ok().map(|start| start.timestamp());
    // The parser would take the time of a text without an offset for a part of the date that it may leave out.
    let date = || text.parse().ok().filter(|_| text.len() == "2026-05-01".len());
    let parsed = || text.parse().ok().or_else(|| date().and_then(day));
    parsed().or_else(|| with_plus(text)?.parse().ok()).ok_or_else(|| {
        Error::validation(format!(
            "{text:?} is no time: write 2026-05-01 (a day of the unit's time zone), 2026-05-01T12:00:00Z, or an offset with its \
             plus escaped (2026-05-01T12:00:00%2B02:00)."
        ))
    })
}

/// `…T12:00:00 01:00` with the plus that the space was.
fn with_plus(text: &str) -> Option<String> {
    let (head, offset) = text.rsplit_once(' ')?;
    let hours_and_minutes = offset.len() == 5 && offset.as_bytes()[2] == b':';
    (hours_and_minutes && head.contains(':')).then(|| format!("{head}+{offset}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_as_people_write_them() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| moment(text, &zone).map(|at| at.to_string()).unwrap_or_default();
        assert_eq!(at("2026-05-01"), "2026-04-30T22:00:00Z");
        assert_eq!(at("2026-05-01T12:00:00+01:00"), "2026-05-01T11:00:00Z");
        assert_eq!(at("2026-05-01T12:00:00 01:00"), "2026-05-01T11:00:00Z");
        for bad in ["yesterday", "2026-05-01 12:00", "2026-13-01", "", " 01:00", "2026-05-01T12:00:00"] {
            assert!(moment(bad, &zone).unwrap_err().message().contains("%2B02:00"), "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_what_was_meant() {
        let line = serde_json::json!({ "lines": [
            { "name": "gate", "from": [0, 0.5], "to": [1, 0.5], "forward": "north", "backward": "south" }] });
        let traffic: TrafficConfig = serde_json::from_value(line).unwrap();
        let slot = Timestamp::UNIX_EPOCH;
        let old = Count { slot, line: Some("bridge".into()), direction: None, class: "tram".into(), vehicles: 1 };
        let names = Names::configured(&traffic, ["car", "bus"]).with_history([old]);
        for (kind, good) in [("line", "bridge"), ("line", "gate"), ("direction", "south"), ("class", "tram")] {
            let check = [Names::check_line, Names::check_direction, Names::check_class];
            let which = ["line", "direction", "class"].iter().position(|name| *name == kind).unwrap();
            check[which](&names, good).unwrap();
        }
        let said = names.check_class("buss").unwrap_err();
        assert!(said.message().contains("Did you mean \"bus\"?") && said.message().contains("unclassified"), "{said}");
        assert!(names.check_direction("nort").unwrap_err().message().contains("\"north\""));
        assert!(names.check_line("zzz").unwrap_err().message().contains("There are: bridge, gate."));
    }
}
