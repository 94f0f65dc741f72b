//! What packages are made from fits together: what is named is there, and what is made is named.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Made by `assets/deploy/build-deb` while it builds.
const MADE: &str = "target/package/";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn manifest() -> toml::Table {
    read("Cargo.toml").parse().unwrap()
}

/// Source and place of every file in the Debian package.
fn assets() -> Vec<(String, String)> {
    let manifest = manifest();
    let assets = manifest["package"]["metadata"]["deb"]["assets"]
        .as_array()
        .unwrap();
    let text = |asset: &toml::Value, at: usize| asset[at].as_str().unwrap().to_owned();
    let assets = assets.iter().map(|asset| (text(asset, 0), text(asset, 1)));
    assets.collect()
}

#[test]
fn the_debian_package_names_files_that_are_there_or_are_made() {
    let build = read("assets/deploy/build-deb");
    let mut made = 0;
    for (source, place) in assets() {
        match source.strip_prefix(MADE) {
            Some("man/*") => assert!(build.contains("man \"$made/man\"")),
            Some(completion) => {
                let shell = completion.strip_prefix("portero.").unwrap();
                assert!(build.contains("completions \"$shell\""));
                let shells = build.lines().find(|line| line.starts_with("for shell in"));
                assert!(shells.unwrap().contains(shell), "{shell} is not made");
                made += 1;
            }
            None if source == "target/release/portero" => assert_eq!(place, "usr/bin/"),
            None => assert!(path(&source).is_file(), "{source} is not there"),
        }
    }
    assert_eq!(made, 3);
    let manifest = manifest();
    let package = &manifest["package"]["metadata"]["deb"];
    let unit = |key: &str| package["systemd-units"][key].as_str().unwrap();
    let unit = path(unit("unit-scripts")).join(format!("{}.service", unit("unit-name")));
    assert!(unit.is_file(), "{} is not there", unit.display());
    let scripts = path(package["maintainer-scripts"].as_str().unwrap());
    let newest = format!(
        "portero ({}-1) ",
        manifest["package"]["version"].as_str().unwrap()
    );
    let changelog = read(package["changelog"].as_str().unwrap());
    assert!(
        changelog.starts_with(&newest),
        "the changelog does not begin with {newest}"
    );
    assert!(scripts.join("postinst").is_file() && scripts.join("postrm").is_file());
}

#[test]
fn scripts_can_be_started_and_read_by_their_shell() {
    for (shell, name, mode) in [
        ("bash", "build-static", 0o111),
        ("bash", "build-deb", 0o111),
        ("bash", "../../.ci/package", 0o111),
        ("sh", "debian/postinst", 0),
        ("sh", "debian/postrm", 0),
    ] {
        let script = path("assets/deploy").join(name);
        let read = Command::new(shell).arg("-n").arg(&script).output().unwrap();
        assert!(
            read.status.success() && read.stderr.is_empty(),
            "{name}: {read:?}"
        );
        let bits = fs::metadata(&script).unwrap().permissions().mode();
        assert_eq!(bits & mode, mode, "{name} cannot be started");
    }
}

#[test]
fn a_first_installation_writes_a_configuration_whose_store_is_where_the_service_may_write() {
    // The very lines of the script, with the program of this build.
    let script = read("assets/deploy/debian/postinst");
    let start = script.find("portero config example").unwrap();
    let end = start + script[start..].find("chown ").unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_portero"));
    let folder = tempfile::tempdir().unwrap();
    let draft = folder.path().join("portero.toml");
    let written = Command::new("sh")
        .args(["-ec", &script[start..end]])
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
        )
        .env("draft", &draft)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    let written: toml::Table = fs::read_to_string(draft).unwrap().parse().unwrap();
    let unit = read("assets/deploy/portero.service");
    assert!(unit.lines().any(|line| line == "StateDirectory=portero"));
    let store = &written["store"];
    assert_eq!(
        store["path"].as_str(),
        Some("/var/lib/portero/portero.redb")
    );
    assert_eq!(
        store["key"].as_str(),
        Some("file:/var/lib/portero/portero.key")
    );
}

#[test]
fn the_image_is_built_with_a_compiler_that_is_new_enough_from_files_that_are_there() {
    let containerfile = read("assets/deploy/Containerfile");
    let (_, version) = containerfile.split_once("/rust:").unwrap();
    let (version, _) = version.split_once("-bookworm").unwrap();
    let minor = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    let manifest = manifest();
    let needed = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(minor(version) >= minor(needed), "{version}");
    let copies = containerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let names: Vec<&str> = copy.split_whitespace().collect();
        for name in &names[..names.len() - 1] {
            assert!(path(name).exists(), "{name} is not there");
        }
    }
}
