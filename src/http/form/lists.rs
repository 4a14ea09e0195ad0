//! Reading lists of texts, quantities by day, and objects whose properties are not all known.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::domain::command::Quantities;
use crate::domain::refusal::{Fault, pointer};

use crate::http::problem::Problem;

use super::{Form, Items, Members, Text, quantity_text};

type List<'a> = Vec<Cow<'a, str>>;

fn list(texts: Vec<Text<'_>>) -> List<'_> {
    texts.into_iter().map(|Text(text)| text).collect()
}

impl<'a> Form<'a> {
    /// Quantities per data source and measure, for each of some days.
    pub(in crate::http) fn dated_quantities(&mut self, name: &str) -> Vec<(Cow<'a, str>, Quantities<'a>)> {
        let days: Option<Members<'a>> = self.optional(name, "an object of days");
        let days = days.map(|Members(days)| days.into_iter().map(|day| self.of_day(name, day)).collect());
        self.required(name, days)
    }

    fn of_day(
        &mut self,
        name: &str,
        (day, raw): (Cow<'a, str>, &'a RawValue),
    ) -> (Cow<'a, str>, Quantities<'a>) {
        let place = pointer(&pointer(&self.place, name), &day);
        let quantities = match serde_json::from_str(raw.get()) {
            Ok(Members(sources)) => {
                self.nested_at(&place, sources, "a number, or a string of digits", quantity_text)
            }
            Err(_) => {
                self.faults.push(Fault::new(place, "must be an object of objects"));
                Quantities::new()
            }
        };
        (day, quantities)
    }

    /// A number or a string, as text.
    pub(in crate::http) fn number_or_text(&mut self, name: &str, expected: &str) -> Option<Cow<'a, str>> {
        let text = quantity_text(self.raw(name)?);
        if text.is_none() {
            self.fault(name, expected);
        }
        text
    }

    /// An array of strings.
    pub(in crate::http) fn optional_texts(&mut self, name: &str) -> Option<List<'a>> {
        self.optional(name, "an array of strings").map(list)
    }

    pub(in crate::http) fn texts(&mut self, name: &str) -> List<'a> {
        let texts = self.optional_texts(name);
        self.required(name, texts)
    }

    /// An array of objects with the same properties.
    ///
    /// # Errors
    /// When one has an unknown property.
    pub(in crate::http) fn optional_items(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Vec<Form<'a>>>, Problem> {
        let Some(Items(items)) = self.optional(name, "an array of objects") else { return Ok(None) };
        let place = pointer(&self.place, name);
        let mut forms = Vec::with_capacity(items.len());
        for (index, raw) in items.into_iter().enumerate() {
            forms.push(Form::read_at(&format!("{place}/{index}"), raw, known)?);
        }
        Ok(Some(forms))
    }

    /// An array of arrays of strings.
    pub(in crate::http) fn rows(&mut self, name: &str) -> Vec<List<'a>> {
        let rows: Option<Vec<Vec<Text<'a>>>> = self.optional(name, "an array of arrays of strings");
        self.required(name, rows.map(|rows| rows.into_iter().map(list).collect()))
    }

    /// A property that is an object with properties of its own, and with others.
    pub(in crate::http) fn open_form(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Option<Form<'a>> {
        self.must_have(name);
        let Members(members) = self.optional(name, "an object")?;
        Some(Form::open(pointer(&self.place, name), members, known))
    }

    /// The properties beside the known ones, each an array of strings; a null is as good as absent.
    pub(in crate::http) fn other_texts(&mut self) -> Vec<(Cow<'a, str>, List<'a>)> {
        let (mut lists, mut wrong) = (Vec::new(), Vec::new());
        for (name, raw) in self.others().filter(|(_, raw)| raw.get() != "null") {
            match serde_json::from_str(raw.get()) {
                Ok(texts) => lists.push((name.clone(), list(texts))),
                Err(_) => wrong.push(name.clone()),
            }
        }
        wrong.iter().for_each(|name| self.fault(name, "must be an array of strings"));
        lists
    }
}
