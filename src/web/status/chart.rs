//! The funnel as a picture: SVG that the server draws, and the same as a table.

use super::page::{day, hour};
use super::report::{Range, Series};
use crate::domain::tally::{Method, Milestone};
use maud::{Markup, html};

/// Height of the picture in its own units; its width is one for each bar. It is stretched to the
/// room there is, so that it holds nothing but bars and lines.
const HEIGHT: u64 = 100;

/// Of each unit of width, in hundredths: what a bar takes.
const BAR_WIDTH: u64 = 76;

/// What the bars show, each in front of the one before it.
const SHOWN: [Milestone; 3] = [Milestone::Begun, Milestone::Reached, Milestone::Bound];

/// What a method is to people, and what its milestones are called.
pub fn names(method: Method) -> (&'static str, [&'static str; 4]) {
    match method {
        Method::MailCode => (
            "Code by mail",
            ["Asked for a code", "Code mailed", "Right code", "Signed in"],
        ),
        Method::Link => (
            "Link to the sign-in page",
            ["Got a link", "Sent the form", "Right password", "Signed in"],
        ),
        Method::Bot => (
            "Asked for by the bot",
            [
                "Was asked",
                "Form sent or code mailed",
                "Proved it",
                "Signed in",
            ],
        ),
    }
}

/// A number that the scale ends at: 1, 2 or 5 with zeros.
fn top_of_scale(most: u64) -> u64 {
    let mut decade = 1;
    loop {
        for step in [1, 2, 5] {
            if step * decade >= most {
                return step * decade;
            }
        }
        decade *= 10;
    }
}

/// One method over time.
pub fn funnel(series: &Series, range: Range, method: Method) -> Markup {
    let count = |tally: &crate::domain::tally::Tally, of| tally.reached(method, of);
    let most = series
        .bars
        .iter()
        .flat_map(|(_, tally)| SHOWN.map(|of| count(tally, of)));
    let top = top_of_scale(most.max().unwrap_or(0).max(1));
    let (name, steps) = names(method);
    let moment = |at| if range.is_hourly() { hour(at) } else { day(at) };
    let id = method.name();
    let width = series.bars.len() as u64;
    let beginning = series
        .bars
        .first()
        .map_or(String::new(), |(at, _)| moment(*at));
    let end = series
        .bars
        .last()
        .map_or(String::new(), |(at, _)| moment(*at));
    let sums = Milestone::ALL.map(|of| count(&series.sum, of));
    let description = format!(
        "{name}, {} by {}: {} began, {} signed in.",
        range.words(),
        if range.is_hourly() { "hour" } else { "day" },
        sums[0],
        sums[3]
    );
    html! {
        figure.chart {
            div.plot {
                span.top aria-hidden="true" { (top) }
                svg role="img" aria-labelledby={ (id) "-title " (id) "-description" }
                    viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" {
                    title #{ (id) "-title" } { (name) }
                    desc #{ (id) "-description" } { (description) }
                    @for line in [0, HEIGHT / 2] {
                        line.grid x1="0" x2=(width) y1=(line) y2=(line) vector-effect="non-scaling-stroke" {}
                    }
                    line.base x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) vector-effect="non-scaling-stroke" {}
                    @for (place, (at, tally)) in series.bars.iter().enumerate() {
                        @let values = SHOWN.map(|of| count(tally, of));
                        @if values.iter().any(|value| *value > 0) {
                            g {
                                title { (moment(*at)) ": " (values[0]) " began, " (values[1]) " got on, " (values[2]) " signed in" }
                                @for (class, value) in ["begun", "reached", "bound"].into_iter().zip(values) {
                                    @let height = hundredths(value * HEIGHT * 100 / top);
                                    @let y = hundredths((top - value) * HEIGHT * 100 / top);
                                    rect class=(class) x={ (place) "." (format!("{:02}", (100 - BAR_WIDTH) / 2)) } y=(y)
                                        width={ "0." (BAR_WIDTH) } height=(height) {}
                                }
                            }
                        }
                    }
                }
            }
            p.axis aria-hidden="true" { span { (beginning) } span { (end) } }
            figcaption.key {
                @for (class, words) in [("begun", steps[0]), ("reached", steps[1]), ("bound", steps[3])] {
                    span { i class=(class) {} (words) }
                }
            }
            details {
                summary { "As a table" }
                div.scroll { table {
                    thead { tr {
                        th scope="col" { @if range.is_hourly() { "Hour (UTC)" } @else { "Day (UTC)" } }
                        @for step in steps { th.number scope="col" { (step) } }
                    } }
                    tbody {
                        @for (at, tally) in series.bars.iter().rev() {
                            @let values = Milestone::ALL.map(|of| count(tally, of));
                            @if values.iter().any(|value| *value > 0) {
                                tr {
                                    th scope="row" { (moment(*at)) }
                                    @for value in values { td.number { (value) } }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn hundredths(value: u64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::tally::Tally;
    use crate::domain::time::Timestamp;

    const NOW: Timestamp = Timestamp(1_795_645_800_000);

    fn drawn(counts: &[[u64; 4]]) -> String {
        let mut series = Series::new(Range::Days7, NOW, &[]);
        for ((_, bar), counts) in series.bars.iter_mut().rev().zip(counts) {
            bar.milestones[0] = *counts;
            series.sum.add(bar);
        }
        funnel(&series, Range::Days7, Method::MailCode).into_string()
    }

    #[test]
    fn the_scale_ends_at_a_round_number() {
        let tops = [1, 2, 3, 5, 6, 10, 11, 99, 101, 4_000].map(top_of_scale);
        assert_eq!(tops, [1, 2, 5, 5, 10, 10, 20, 100, 200, 5_000]);
    }

    #[test]
    fn a_bar_is_as_high_as_its_number_and_stands_on_the_ground() {
        let svg = drawn(&[[4, 3, 2, 1]]);
        assert!(
            svg.contains(r#"<span class="top" aria-hidden="true">5</span>"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"<rect class="begun" x="6.12" y="20.00" width="0.76" height="80.00">"#)
        );
        assert!(
            svg.contains(r#"<rect class="bound" x="6.12" y="80.00" width="0.76" height="20.00">"#)
        );
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("25 Nov: 4 began, 3 got on, 1 signed in"));
        assert!(svg.contains("<th scope=\"row\">25 Nov</th>"));
    }

    #[test]
    fn nothing_counted_is_an_empty_picture_with_its_words() {
        let svg = drawn(&[]);
        assert_eq!(svg.matches("<rect").count(), 0);
        assert!(svg.contains("0 began, 0 signed in"));
        let tally = Tally::default();
        assert!(tally.is_empty());
    }

    /// Styles in attributes would need another policy (S-47), and an id twice is none.
    #[test]
    fn a_picture_has_no_style_of_its_own() {
        let svg = drawn(&[[9, 9, 9, 9], [1, 0, 0, 0]]);
        assert!(!svg.contains("style=") && !svg.contains("<script"));
        assert_eq!(svg.matches("id=\"mail_code-title\"").count(), 1);
    }
}
