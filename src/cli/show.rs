//! How commands show lists, moments and spans to people.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use unicode_width::UnicodeWidthStr;

/// Columns of a screen that says nothing about itself, or of no screen.
const USUAL_WIDTH: usize = 80;

/// Characters of a `userUuid` that tell people apart where there is no room for all of it.
const CONTACT_CHARS: usize = 8;

/// Columns that standard output has.
pub(super) fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(USUAL_WIDTH)
}

/// Rows with their cells under each other, without line ends.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            // Not by `{:width$}`, which counts characters: some take two places, some none.
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        line.trim_end().to_owned()
    });
    lines.collect()
}

/// The lines as one text.
pub(super) fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A table that shows whole contacts where the screen is wide enough, and what tells them apart
/// where it is not; `rows` makes its rows with contacts shown in this way.
pub(super) fn with_contacts<const N: usize>(
    width: usize,
    rows: impl Fn(&dyn Fn(&str) -> String) -> Vec<[String; N]>,
) -> Vec<String> {
    let whole = columns(&rows(&str::to_owned));
    if whole.iter().all(|line| line.width() <= width) {
        return whole;
    }
    columns(&rows(&|contact| {
        let start: String = contact.chars().take(CONTACT_CHARS).collect();
        format!("{start}…")
    }))
}

/// A sentence in lines of at most `width`, each two columns in.
pub(super) fn indented(sentence: &str, width: usize) -> Vec<String> {
    let room = width.max(20) - 2;
    let mut lines = vec![String::new()];
    for word in sentence.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

/// Of one kind and another: "3 letters", "1 letter".
pub(super) fn count(number: usize, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

/// How long something takes or took, in its largest unit: "45s", "12m", "3h", "6d".
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn at(ms: u64) -> OffsetDateTime {
    // What is beyond the calendar was never a moment of ours.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// For programs.
pub(super) fn rfc_3339(ms: u64) -> String {
    at(ms).format(&Rfc3339).unwrap_or_default()
}

/// For people: to the second, as the log has it.
pub(super) fn moment(ms: u64) -> String {
    at(ms)
        .format(format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second] UTC"
        ))
        .unwrap_or_default()
}

/// For people, of what is not older than some months. In UTC.
pub(super) fn short_moment(ms: u64) -> String {
    at(ms)
        .format(format_description!(
            "[month]-[day] [hour]:[minute]:[second]"
        ))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        let ms = [0, 59_999, 60_000, 3_599_999, 3_600_000, 86_400_000 * 7];
        assert_eq!(ms.map(span), ["0s", "59s", "1m", "59m", "1h", "7d"]);
    }

    #[test]
    fn a_long_sentence_is_folded_and_a_word_that_is_too_long_is_not_torn() {
        let word = "x".repeat(30);
        assert_eq!(
            indented(&format!("the bot answered {word} and more"), 20),
            ["  the bot answered", &format!("  {word}"), "  and more"]
        );
    }

    #[test]
    fn a_contact_is_whole_where_there_is_room() {
        let rows = |contact: &dyn Fn(&str) -> String| {
            vec![[
                "ID".to_owned(),
                contact("3f2a9c1e-0000-4000-8000-000000000000"),
            ]]
        };
        assert_eq!(
            with_contacts(40, rows),
            ["ID  3f2a9c1e-0000-4000-8000-000000000000"]
        );
        assert_eq!(with_contacts(39, rows), ["ID  3f2a9c1e…"]);
    }
}
