//! What the values of settings are read by. Each says what it must be, where it is something else.

use std::net::SocketAddr;

use crate::telemetry;

/// Longest time that can be set, in milliseconds: a day.
pub(super) const TIME_MS_MAX: u64 = 86_400_000;

/// A share of 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u64);

/// It is what chance is held against, and no quantity.
#[allow(clippy::float_arithmetic, reason = "see above")]
pub(super) fn share(text: &str) -> Result<Share, String> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    let ratio = ratio.ok_or("must be a number from 0 to 1")?;
    // What is above the largest number becomes that.
    Ok(Share((ratio * 2_f64.powi(64)) as u64))
}

/// A whole number within limits.
pub(super) fn whole<T: TryFrom<u64> + 'static>(
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
    }
}

/// Whether something is so: of a flag it is enough that it is given.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// What is logged.
pub(super) fn filter(text: &str) -> Result<String, String> {
    telemetry::filter(text).map(|_| text.to_owned())
}

/// Where to listen.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let why = "must be an IP address with a port, such as 127.0.0.1:8080 or [::1]:8080";
    text.parse().map_err(|_| why.to_owned())
}
