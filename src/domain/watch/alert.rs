//! What a watch found, as it is shown and sent.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Configuration, GroupPath, Quantity, Subject};
use crate::domain::command::Timestamp;
use crate::domain::refusal::Place;

/// Whether what was found is still the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertState)]
pub enum State {
    /// It is.
    Open,
    /// It is not any more.
    Closed,
}

/// What a watch found of a subject.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Alert)]
pub struct Shown {
    /// Its own id.
    pub alert_id: Uuid,
    /// Where its last change is in the order of all changes of alerts.
    pub sequence: i64,
    /// The watch that found it.
    pub watch: String,
    /// Whether it is still the case.
    pub state: State,
    /// Since when.
    #[schema(format = DateTime)]
    pub opened_at: String,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub closed_at: Option<String>,
    /// The owner.
    pub organization_id: String,
    /// The product.
    pub product_id: String,
    /// Where.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub dimensions: Place,
    /// For whom; without it, it is about the stock node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub groups: Option<Place>,
    /// The value that was judged when it last changed, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
    /// The value at which the watch opens an alert.
    pub threshold: Quantity,
    /// What was found, in words.
    pub detail: String,
}

/// What a watch found of a subject, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its own id.
    pub id: Uuid,
    /// Where its last change is in the order of all changes of alerts.
    pub sequence: i64,
    /// The watch that found it.
    pub watch: String,
    /// Of what.
    pub subject: Subject,
    /// Since when.
    pub opened_at: Timestamp,
    /// Until when.
    pub closed_at: Option<Timestamp>,
    /// The value that was judged when it last changed.
    pub value: Option<Quantity>,
    /// The value at which the watch opens an alert.
    pub threshold: Quantity,
    /// What was found, in words.
    pub detail: String,
}

impl Alert {
    /// The alert with the names that a configuration has for its place.
    pub fn shown(self, configuration: &Configuration) -> Shown {
        let groups = self.subject.groups.as_ref().map(GroupPath::values);
        Shown {
            alert_id: self.id,
            sequence: self.sequence,
            watch: self.watch,
            state: if self.closed_at.is_some() { State::Closed } else { State::Open },
            opened_at: written(self.opened_at),
            closed_at: self.closed_at.map(written),
            organization_id: self.subject.organization.to_string(),
            product_id: self.subject.product.to_string(),
            dimensions: configuration.dimensions().place(self.subject.path.values()),
            groups: groups.map(|values| configuration.groups().place(values)),
            value: self.value,
            threshold: self.threshold,
            detail: self.detail,
        }
    }

    /// The message that tells of its last change.
    pub fn message(self, configuration: &Configuration) -> Message {
        let (kind, at) = match self.closed_at {
            None => (Kind::Opened, self.opened_at),
            Some(closed_at) => (Kind::Closed, closed_at),
        };
        Message { kind, timestamp: written(at), data: self.shown(configuration) }
    }
}

/// A time as RFC 3339 has it.
pub fn written(time: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1000);
    // A time of this age always has such a form.
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum Kind {
    /// It opened.
    #[serde(rename = "alert.opened")]
    Opened,
    /// It closed.
    #[serde(rename = "alert.closed")]
    Closed,
}

/// A message, as webhooks get it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AlertMessage)]
pub struct Message {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// When.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// The alert after it.
    pub data: Shown,
}

impl Message {
    /// The message's stable name.
    pub fn id(&self) -> String {
        let kind = match self.kind {
            Kind::Opened => "opened",
            Kind::Closed => "closed",
        };
        format!("alert_{}_{kind}", self.data.alert_id.simple())
    }
}
