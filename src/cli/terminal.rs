//! Questions at the terminal whose answers must not be seen.
//!
//! Prompts go to standard error, so that standard output is the result and nothing else.

use rustix::io::read;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::io::{self, ErrorKind, Stdin, Write};
use zeroize::Zeroizing;

/// Bytes of one answer at most; a terminal gives no longer lines (termios(3), canonical mode).
const ANSWER_BYTES_MAX: usize = 4096;

/// What Ctrl-C sends.
const CTRL_C: u8 = 3;

/// Asks at the terminal that standard input is, and does not show what is typed.
pub(super) fn ask_hidden(prompt: &str) -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    // Before the prompt: from the prompt on nothing is shown.
    let silent = Silent::make(&stdin)?;
    let mut error = io::stderr();
    error.write_all(prompt.as_bytes())?;
    error.flush()?;
    // Not through `Stdin`, whose buffer keeps a copy.
    let mut bytes = Zeroizing::new([0; ANSWER_BYTES_MAX]);
    let count = loop {
        match read(&stdin, &mut bytes[..]) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    drop(silent);
    let typed = match &bytes[..count] {
        [] => return Err(ErrorKind::UnexpectedEof.into()),
        [typed @ .., CTRL_C] => {
            error.write_all(b"\n")?;
            kill_process(getpid(), Signal::INT)?;
            // Only if somebody had SIGINT ignored.
            let _ = typed;
            return Err(ErrorKind::Interrupted.into());
        }
        [typed @ .., b'\n'] => typed,
        typed => typed,
    };
    match std::str::from_utf8(typed) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::new(ErrorKind::InvalidData, "it is not UTF-8")),
    }
}

/// A terminal that shows nothing but the end of the line, until this is dropped. Ctrl-C ends the
/// line instead of the process, which would leave the terminal silent.
struct Silent<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn make(stdin: &'a Stdin) -> io::Result<Silent<'a>> {
        let before = tcgetattr(stdin)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        silent.local_modes |= LocalModes::ECHONL | LocalModes::ICANON;
        silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        // What was typed before was typed in the open, and not to this prompt.
        tcsetattr(stdin, OptionalActions::Flush, &silent)?;
        Ok(Silent { stdin, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}
