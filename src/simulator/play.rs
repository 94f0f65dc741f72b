//! x
use super::World;
use std::io::{self, Write};
/// draft
pub fn act(_: &World, _: &mut dyn Write, _: bool) -> io::Result<Vec<String>> {
    Ok(vec![])
}
