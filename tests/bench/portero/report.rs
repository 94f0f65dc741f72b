//! What is printed: Markdown that can be kept as it is.

use super::client::Measured;

/// What was measured beside what it should be (section 10 of the design), for the table at the end.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    measured: String,
    goal: String,
    met: Option<bool>,
}

impl Report {
    pub fn at_least(&mut self, what: &str, measured: f64, goal: f64, unit: &str) {
        let met = measured >= goal;
        self.add(what, measured, Some(("≥", goal, met)), unit);
    }

    pub fn at_most(&mut self, what: &str, measured: f64, goal: f64, unit: &str) {
        let met = measured <= goal;
        self.add(what, measured, Some(("≤", goal, met)), unit);
    }

    /// Something for which there is no goal.
    pub fn fact(&mut self, what: &str, measured: f64, unit: &str) {
        self.add(what, measured, None, unit);
    }

    /// Something that could not be measured, and why.
    pub fn absent(&mut self, what: &str, why: &str) {
        self.rows.push(Row {
            what: what.to_owned(),
            measured: why.to_owned(),
            goal: String::new(),
            met: None,
        });
    }

    fn add(&mut self, what: &str, measured: f64, goal: Option<(&str, f64, bool)>, unit: &str) {
        self.rows.push(Row {
            what: what.to_owned(),
            measured: figure(measured, unit),
            goal: goal.map_or(String::new(), |(sign, goal, _)| {
                format!("{sign} {}", figure(goal, unit))
            }),
            met: goal.map(|(_, _, met)| met),
        });
    }

    pub fn print(&self) {
        heading("All of it");
        head(&["what", "measured", "goal", "met"]);
        for row in &self.rows {
            let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
            line(
                &row.what,
                &[row.measured.clone(), row.goal.clone(), met.to_owned()],
            );
        }
    }
}

/// As many digits as say something.
fn figure(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 2,
        middling if middling < 100.0 => 1,
        _ => 0,
    };
    let number = grouped(&format!("{value:.digits$}"));
    if unit.is_empty() {
        number
    } else {
        format!("{number} {unit}")
    }
}

/// A whole number with commas between thousands.
fn grouped(number: &str) -> String {
    if number.contains('.') || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut text = String::new();
    for (place, digit) in number.chars().enumerate() {
        if place > 0 && (number.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn heading(text: &str) {
    println!("\n## {text}\n");
}

/// The names of the columns.
pub fn head(columns: &[&str]) {
    println!("| {} |", columns.join(" | "));
    let lines: Vec<&str> = (0..columns.len())
        .map(|column| if column == 0 { "---" } else { "---:" })
        .collect();
    println!("|{}|", lines.join("|"));
}

pub fn line(what: &str, cells: &[String]) {
    println!("| {what} | {} |", cells.join(" | "));
}

/// The head of a table of loads.
pub fn loads() {
    head(&[
        "what",
        "a second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU µs each",
        "stand-ins' CPU µs each",
        "kB written each",
        "× disk",
    ]);
}

/// A line of that table; `disk` is its rate of small durable writes.
pub fn load(what: &str, measured: &Measured, disk: f64) {
    line(
        what,
        &[
            figure(measured.per_second, ""),
            format!("{:.2}", measured.within(0.5)),
            format!("{:.2}", measured.within(0.99)),
            format!("{:.2}", measured.within(0.999)),
            format!("{:.0}", measured.cpu_us),
            format!("{:.0}", measured.stand_ins_us),
            format!("{:.1}", measured.bytes / 1e3),
            format!("{:.2}", measured.per_second / disk),
        ],
    );
}

/// A line of that table for what has no latency of its own.
pub fn rate_alone(what: &str, per_second: f64, disk: f64) {
    let mut cells = vec![String::new(); 8];
    cells[0] = figure(per_second, "");
    cells[7] = format!("{:.2}", per_second / disk);
    line(what, &cells);
}
