//! A command line of `serve` that is wrong: everything that is wrong with it at once, and the settings that
//! remain, so that what else stands against serving is told with it. The parser ends at its first error. So
//! every value is read once more by itself, and what remains without the wrong ones as a whole.

use std::ffi::{OsStr, OsString};

use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _, Id};

use super::Serve;

/// What stands in for values that cannot be read, where what they are by default could be refused for
/// reasons that have nothing to do with them.
const STAND_INS: [(&str, &str); 2] = [("listen", "127.0.0.1:0"), ("connections-max", "1")];
/// Most characters of a wrong value that are shown.
const SHOWN_CHARACTERS_MAX: usize = 100;

/// What is wrong with a command line, and what remains of it.
pub struct Misread {
    /// What is wrong, a line each.
    pub problems: Vec<String>,
    /// The settings without that.
    pub rest: Serve,
}

impl Misread {
    /// Looks at what stands behind `serve` on a command line that the parser refused. None where there is
    /// no more to be said than the parser does.
    pub fn of(arguments: &[OsString]) -> Option<Misread> {
        let command = Serve::augment_args(Command::new("ringfence serve").no_binary_name(true));
        let mut problems = Vec::new();
        let given = given(&command, arguments, &mut problems)?;
        let readable: Vec<OsString> =
            command.get_arguments().filter_map(|argument| read(argument, &given, &mut problems)).collect();
        let rest = rest(command, &readable, &mut problems)?;
        (!problems.is_empty()).then_some(Misread { problems, rest })
    }
}

/// What is given for every setting, as it stands there. What belongs to none is a problem.
fn given(command: &Command, arguments: &[OsString], problems: &mut Vec<String>) -> Option<ArgMatches> {
    let mut lenient = command.clone().args_override_self(true).mut_args(|argument| {
        let argument = alone(argument).value_parser(ValueParser::os_string());
        match argument.get_action().takes_values() {
            true => argument.action(ArgAction::Append).num_args(0..=1).allow_negative_numbers(true),
            false => argument,
        }
    });
    // Each time at least one argument less is unknown.
    for _ in 0..=arguments.len() {
        let error = match lenient.clone().try_get_matches_from(arguments) {
            Ok(given) => return Some(given),
            Err(error) => error,
        };
        let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else { return None };
        if error.kind() != ErrorKind::UnknownArgument {
            return None;
        }
        let stranger = Arg::new(format!("unknown {name}")).value_parser(ValueParser::os_string());
        let meant = match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => format!("; is {flag} meant?"),
            _ => String::new(),
        };
        let mut letters = name.strip_prefix('-').unwrap_or_default().chars();
        let stranger = match (name.strip_prefix("--"), letters.next()) {
            (Some(""), _) => return None,
            (Some(long), _) => stranger.long(long.to_owned()).num_args(0..=1),
            (None, Some(letter)) => stranger.short(letter).num_args(0..=1),
            (None, None) => {
                // It could be a secret whose flag was forgotten.
                let place = arguments.iter().position(|argument| argument == name.as_str())? + 1;
                problems.push(format!("what stands in place {place} behind serve belongs to no flag"));
                lenient = lenient.arg(stranger.num_args(0..));
                continue;
            }
        };
        problems.push(format!("{name} is no flag{meant}"));
        lenient = lenient.arg(stranger);
    }
    None
}

/// Reads a setting by itself; answers it as an argument, where it is given and can be read.
fn read(argument: &Arg, given: &ArgMatches, problems: &mut Vec<String>) -> Option<OsString> {
    let id = argument.get_id().as_str();
    let source = given.value_source(id).filter(|source| *source != ValueSource::DefaultValue)?;
    let flag = argument.get_long()?;
    let is_switch = !argument.get_action().takes_values();
    let occurrences = given.get_raw_occurrences(id).map_or(0, Iterator::count);
    let raw = given.get_raw(id).and_then(Iterator::last);
    let assigned = |value: &OsStr| -> OsString {
        [OsStr::new("--"), flag.as_ref(), "=".as_ref(), value].into_iter().collect()
    };
    let why = match raw {
        Some(_) if occurrences > 1 => Some("is given more than once".to_owned()),
        Some(raw) => fault(argument, assigned(raw)),
        None => Some("needs a value".to_owned()),
    };
    let Some(why) = why else {
        let raw = raw.unwrap_or_default();
        let is_off = is_switch && super::values::switch(&raw.to_string_lossy()) == Ok(false);
        return (!is_off).then(|| if is_switch { format!("--{flag}").into() } else { assigned(raw) });
    };
    let shown = match raw {
        Some(raw) if !argument.is_hide_env_values_set() => format!("={}", shown(raw)),
        _ => String::new(),
    };
    let variable = argument.get_env().map(OsStr::to_string_lossy).unwrap_or_default();
    problems.push(match source {
        ValueSource::EnvVariable => format!("{variable}{shown} (--{flag}) {why}"),
        _ => format!("--{flag}{shown} ({variable}) {why}"),
    });
    // Who gives a switch a value most likely wants it on.
    let stand_in = STAND_INS.iter().find(|(name, _)| *name == flag);
    match stand_in {
        Some((_, value)) => Some(assigned(value.as_ref())),
        None => is_switch.then(|| format!("--{flag}").into()),
    }
}

/// What is wrong with a value.
fn fault(argument: &Arg, assigned: OsString) -> Option<String> {
    let argument = alone(argument.clone()).env(Resettable::Reset).action(ArgAction::Set).num_args(1);
    let command = Command::new("ringfence").no_binary_name(true).arg(argument);
    let error = command.try_get_matches_from([assigned]).err()?;
    Some(match (error.kind(), std::error::Error::source(&error)) {
        (ErrorKind::InvalidUtf8, _) => "must be text in UTF-8".to_owned(),
        (_, Some(why)) => why.to_string(),
        (_, None) => "needs a value".to_owned(),
    })
}

fn shown(raw: &OsStr) -> String {
    let text = raw.to_string_lossy();
    let beginning: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if beginning.len() < text.len() { format!("{beginning:?}…") } else { format!("{beginning:?}") }
}

/// An argument that needs no other and excludes none.
fn alone(argument: Arg) -> Arg {
    argument.requires(Resettable::<Id>::Reset).conflicts_with(Resettable::<Id>::Reset)
}

/// Reads what remains. What does not go together is a problem.
fn rest(command: Command, arguments: &[OsString], problems: &mut Vec<String>) -> Option<Serve> {
    let mut command = command.mut_args(|argument| argument.env(Resettable::Reset));
    // With what is needed and with what is excluded, only with the latter, with neither.
    for _ in 0..3 {
        let error = match command.clone().try_get_matches_from(arguments) {
            Ok(matches) => return Serve::from_arg_matches(&matches).ok(),
            Err(error) => error,
        };
        let text = error.to_string();
        let told = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        problems.push(told.split_whitespace().collect::<Vec<_>>().join(" "));
        command = match error.kind() {
            ErrorKind::MissingRequiredArgument => {
                command.mut_args(|argument| argument.requires(Resettable::<Id>::Reset))
            }
            ErrorKind::ArgumentConflict => {
                command.mut_args(|argument| argument.conflicts_with(Resettable::<Id>::Reset))
            }
            _ => return None,
        };
    }
    None
}
