//! `portero backup` and `portero restore`: copies of the store.

use super::moment::now_ms;
use super::show::count;
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::app::OperatorAct;
use crate::config::StoreKey;
use crate::control::{Answer, Request};
use crate::domain::time::Timestamp;
use crate::serve;
use crate::store::record::Keys;
use crate::store::{RestoreError, Snapshots, restore};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Backup {
    /// The file to make; nothing is overwritten
    path: PathBuf,
}

#[derive(clap::Args)]
pub(super) struct Restore {
    /// A file made by `portero backup`, or a snapshot
    path: PathBuf,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Backup) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    // The server may stand in another folder.
    let path = std::path::absolute(&arguments.path).map_err(|error| {
        Failure::new(
            Exit::CannotCreate,
            format!("{}: {error}", arguments.path.display()),
        )
    })?;
    let request = Request::BackUp { path: path.clone() };
    match Worker::new(&loaded.config).ask(&request)? {
        Answer::BackedUp { records, bytes } => {
            let (path, kib) = (path.display(), bytes.div_ceil(1024));
            writeln!(shell.output, "{path} holds {records} records ({kib} KiB)")?;
            if let StoreKey::File(key) = &loaded.config.store.key {
                eprintln!(
                    "note: it is of no use without {}; keep a copy of that elsewhere",
                    key.display()
                );
            }
            Ok(())
        }
        Answer::NotBackedUp { reason } => Err(Failure::new(Exit::CannotCreate, reason).into()),
        _ => Err(unexpected().into()),
    }
}

pub(super) fn run_restore(shell: &mut Shell<'_>, arguments: &Restore) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let store = &loaded.config.store;
    let master = serve::existing_key(&store.key)
        .map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let snapshots = Snapshots::new(store.snapshot_folder.clone(), store.snapshots);
    let keys = Keys::new(master);
    let restored = restore(
        &arguments.path,
        &store.path,
        &keys,
        &snapshots,
        &OperatorAct::Restored.line(Timestamp(now_ms())),
    )
    .map_err(|error| not_restored(&error, &store.path))?;
    let path = store.path.display();
    writeln!(shell.output, "{path} holds {} records", restored.records)?;
    if restored.erased_again > 0 {
        writeln!(
            shell.output,
            "{} had been forgotten since and {} forgotten again",
            count(restored.erased_again, "contact"),
            if restored.erased_again == 1 {
                "is"
            } else {
                "are"
            },
        )?;
    }
    if let Some(aside) = &restored.kept_at {
        writeln!(
            shell.output,
            "the store before is {}; delete it when it is not needed any more",
            aside.display()
        )?;
    }
    if !restored.erasures_known {
        eprintln!(
            "note: the store before cannot be read, so it is not known who was forgotten since the copy was made; forget them again"
        );
    }
    Ok(())
}

fn not_restored(error: &RestoreError, store: &Path) -> Failure {
    let exit = match error {
        error if error.is_in_use() => Exit::Unavailable,
        RestoreError::Unreadable { .. } => Exit::NoInput,
        RestoreError::TheStore(_) => Exit::Usage,
        RestoreError::Useless(_) => Exit::Data,
        RestoreError::Store(_) | RestoreError::Copy(_) | RestoreError::Place { .. } => Exit::Io,
    };
    let failure = Failure::new(exit, error.to_string());
    match error.is_in_use() {
        true => failure.hint("a store is restored while no server runs; stop it first"),
        false => failure.hint(format!("nothing has changed at {}", store.display())),
    }
}
