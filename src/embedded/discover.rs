//! Which PostgreSQL to run, and as whom.

use std::cmp::Reverse;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::EmbeddedError;

/// Older versions are no longer maintained, and lack the check that keeps two servers off
/// one cluster even when `postmaster.pid` is gone.
const MAJOR_MIN: u32 = 14;

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// Where distributions put the programs, which most of them keep off `PATH`: (directory,
/// start of the name of what lies in it, rest of the path).
const USUAL_PLACES: [(&str, &str, &str); 10] = [
    ("/usr/lib/postgresql", "", "bin"),  // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),           // packages of the PostgreSQL project for Red Hat
    ("/usr", "bin", ""),                 // Fedora, Arch; off PATH only in an odd environment
    ("/usr/lib", "postgresql", "bin"),   // SUSE
    ("/usr/lib64", "postgresql", "bin"), // Gentoo
    ("/usr/libexec", "postgresql", ""),  // Alpine
    ("/usr/local", "pgsql", "bin"),      // built from source
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"), // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// An installed PostgreSQL, and the account that runs it.
#[derive(Debug)]
pub(super) struct Tools {
    bin: PathBuf,
    pub(super) account: Account,
}

/// Who the server runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    /// Given when this process is root and therefore has to become that account.
    pub(super) switch_to_gid: Option<u32>,
}

impl Tools {
    /// Finds the programs for the cluster of major version `made_by`, or the newest ones. Those
    /// on `PATH` come first: that is a choice somebody made.
    pub(super) fn find(
        cluster: &Path,
        made_by: Option<u32>,
        account: Account,
    ) -> Result<Self, EmbeddedError> {
        let usable = |bin: PathBuf| Some((major(&bin).filter(|major| *major >= MAJOR_MIN)?, bin));
        let mut usual: Vec<_> = usual_places().into_iter().filter_map(usable).collect();
        usual.sort_by_key(|(major, _)| Reverse(*major));
        let mut found: Vec<_> = on_path().into_iter().filter_map(usable).collect();
        found.append(&mut usual);

        let nothing = found.is_empty();
        match (found.into_iter().find(|(major, _)| made_by.is_none_or(|m| m == *major)), made_by) {
            (Some((_, bin)), _) => Ok(Self { bin, account }),
            (None, Some(major)) if !nothing => {
                Err(EmbeddedError::OtherVersion { cluster: cluster.to_owned(), major })
            }
            (None, _) => Err(EmbeddedError::NotInstalled { oldest: MAJOR_MIN }),
        }
    }

    /// One of the programs, to be run as the account.
    pub(super) fn command(&self, program: &str) -> Command {
        self.account.command(&self.bin.join(program))
    }

    /// For `map_err`: `program` could not be run.
    pub(super) fn failed(&self, program: &str) -> impl FnOnce(std::io::Error) -> EmbeddedError {
        let (program, user) = (self.bin.join(program), self.account.name.clone());
        move |cause| EmbeddedError::Program { program, user, cause }
    }
}

impl Account {
    /// Who to run as: this user, unless that is root. For root it is the owner of the cluster
    /// there is (PostgreSQL insists), else `postgres`, else `nobody`.
    pub(super) fn choose(cluster: &Path) -> Result<Self, EmbeddedError> {
        // The standard library does not tell the effective user, and the owner of
        // /proc/self is not that of a process with capabilities.
        let id = Command::new("id").arg("-u").stderr(Stdio::null()).output();
        let id = id.map_err(|cause| EmbeddedError::Program {
            program: "id".into(),
            user: "that runs ringfence".into(),
            cause,
        })?;
        let uid = String::from_utf8_lossy(&id.stdout).trim().parse();
        if let Ok(uid @ 1..) = uid {
            return Ok(Self { name: uid.to_string(), uid, switch_to_gid: None });
        }
        if let Ok(owner) = fs::metadata(cluster)
            && owner.uid() != 0
        {
            let (uid, gid) = (owner.uid(), owner.gid());
            return Ok(Self { name: uid.to_string(), uid, switch_to_gid: Some(gid) });
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        unprivileged(&passwd).ok_or(EmbeddedError::NoUser)
    }

    /// A command that runs as this account, apart from this process: no terminal, no process
    /// group and no working directory in common, and of the environment only what programs
    /// need to be found and loaded. The rest may be secret, or meant for another PostgreSQL.
    ///
    /// Where it switches the user, the standard library drops all supplementary groups too.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(0).current_dir("/").env_clear();
        let inherited = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];
        command.envs(inherited.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        // Untranslated: what they say is read, by this module and in bug reports.
        command.env("LC_ALL", "C");
        if let Some(gid) = self.switch_to_gid {
            command.uid(self.uid).gid(gid);
        }
        command
    }

    /// Whether this account may pass through `dir`. Asked of the system rather than worked out
    /// from the mode, which knows nothing of access control lists.
    pub(super) fn enters(&self, dir: &Path) -> bool {
        let mut test = self.command(Path::new("test"));
        test.arg("-x").arg(dir).status().is_ok_and(|status| status.success())
    }
}

/// Picks `postgres`, else `nobody`, from the text of /etc/passwd.
pub(super) fn unprivileged(passwd: &str) -> Option<Account> {
    let find = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| *name == wanted)?;
            let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account { name: name.to_owned(), uid, switch_to_gid: Some(gid) })
        })
    };
    find("postgres").or_else(|| find("nobody"))
}

/// The directories on `PATH` with all programs. Behind a link lies the real installation, and
/// only there are all of them sure to be of one version.
fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).filter(|dir| dir.is_absolute());
    directories
        .filter_map(|dir| Some(dir.join("initdb").canonicalize().ok()?.parent()?.to_owned()))
        .filter(|bin| is_complete(bin))
        .collect()
}

fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    for (parent, start, rest) in USUAL_PLACES {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let entries = entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(start.as_bytes()));
        places.extend(entries.map(|e| e.path().join(rest)).filter(|bin| is_complete(bin)));
    }
    places
}

fn is_complete(bin: &Path) -> bool {
    PROGRAMS.iter().all(|program| bin.join(program).is_file())
}

/// Asks the server for its major version: `postgres (PostgreSQL) 15.13 (Debian …)`.
fn major(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    major_of(&String::from_utf8_lossy(&output.stdout))
}

pub(super) fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
