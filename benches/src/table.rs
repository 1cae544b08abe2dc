//! Figures against their targets, one line each.

use std::fmt;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// No larger.
    AtMost(f64),
    /// No smaller.
    AtLeast(f64),
    /// Whatever it is: shown, not judged.
    Shown,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What the engine took, with its unit.
    pub engine: String,
    /// What the disk alone took.
    pub raw: String,
    /// The figure to be judged.
    pub value: f64,
    /// Its unit; `×` for a ratio.
    pub unit: &'static str,
    /// What it must be.
    pub target: Target,
}

impl Figure {
    /// Whether the target is met; None where there is none.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(limit) => Some(self.value <= limit),
            Target::AtLeast(limit) => Some(self.value >= limit),
            Target::Shown => None,
        }
    }
}

/// The heading of the table.
pub const HEADING: &str = "\
| figure | engine | raw limit | result | target | |
|---|---:|---:|---:|---:|---|";

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, engine, raw, value, unit, target } = self;
        let limit = match target {
            Target::AtMost(limit) => format!("≤ {limit} {unit}"),
            Target::AtLeast(limit) => format!("≥ {limit} {unit}"),
            Target::Shown => "–".to_owned(),
        };
        let mark = match self.is_met() {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "",
        };
        write!(f, "| {name} | {engine} | {raw} | {value:.2} {unit} | {limit} | {mark} |")
    }
}

/// Nanoseconds, for people.
#[must_use]
pub fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_its_target_passes_and_one_beyond_does_not() {
        let figure = |value, target| Figure {
            name: "x".into(),
            engine: time(1.1),
            raw: time(1.0),
            value,
            unit: "×",
            target,
        };
        assert_eq!(figure(1.1, Target::AtMost(1.1)).is_met(), Some(true));
        assert_eq!(figure(1.11, Target::AtMost(1.1)).is_met(), Some(false));
        assert_eq!(figure(0.9, Target::AtLeast(0.95)).is_met(), Some(false));
        assert!(figure(9.0, Target::Shown).to_string().ends_with("| – |  |"));
    }
}
