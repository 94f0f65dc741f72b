//! Lists that come in pieces.

use super::{Failure, Shell, Stop};
use serde::Serialize;
use std::io;

/// The last `limit` of what `ask` tells, oldest first, and whether some were left out. `ask` tells
/// those before a place, newest first, and the place where there are more.
pub(super) fn last<T, Place>(
    limit: usize,
    mut ask: impl FnMut(Option<Place>) -> Result<(Vec<T>, Option<Place>), Failure>,
) -> Result<(Vec<T>, bool), Failure> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let (piece, next) = ask(before)?;
        all.extend(piece);
        before = next;
        if before.is_none() || all.len() > limit {
            break;
        }
    }
    let are_more = all.len() > limit;
    all.truncate(limit);
    all.reverse();
    Ok((all, are_more))
}

/// Says so when some were left out.
pub(super) fn note_more(are_more: bool) {
    if are_more {
        eprintln!("there are older ones; --limit shows more");
    }
}

/// One JSON value, for people's eyes, too.
pub(super) fn write_json(shell: &mut Shell<'_>, value: &impl Serialize) -> Result<(), Stop> {
    serde_json::to_writer_pretty(&mut *shell.output, value).map_err(io::Error::from)?;
    writeln!(shell.output)?;
    Ok(())
}

/// One JSON value in one line: a list is one line for each.
pub(super) fn write_json_line(shell: &mut Shell<'_>, value: &impl Serialize) -> Result<(), Stop> {
    serde_json::to_writer(&mut *shell.output, value).map_err(io::Error::from)?;
    writeln!(shell.output)?;
    Ok(())
}
