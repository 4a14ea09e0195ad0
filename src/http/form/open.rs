//! Reading a form that may have more properties than are known: whoever wrote it did not write it
//! for this service. What is not known is told, not refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::domain::refusal::pointer;
use crate::http::problem::Problem;

use super::{Form, Items, Members, parse};

impl<'a> Form<'a> {
    /// Reads a body as an object with these properties, and perhaps others.
    ///
    /// # Errors
    /// When it is not JSON, or no object.
    pub(in crate::http) fn read_open(
        body: &'a [u8],
        known: &'static [&'static str],
    ) -> Result<Form<'a>, Problem> {
        let Members(members) = parse(body, "an object")?;
        Ok(Form::open(String::new(), members, known))
    }

    /// A property that is an object, with these properties and perhaps others.
    pub(in crate::http) fn optional_open_form(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Option<Form<'a>> {
        let Members(members) = self.optional(name, "an object")?;
        Some(Form::open(pointer(&self.place, name), members, known))
    }

    /// A property that is an object of such objects.
    pub(in crate::http) fn open_forms(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Vec<(Cow<'a, str>, Form<'a>)> {
        let Some(Members(members)) = self.optional(name, "an object of objects") else { return Vec::new() };
        let mut forms = Vec::new();
        for (key, raw) in members {
            match serde_json::from_str(raw.get()) {
                Ok(Members(inner)) => {
                    let place = pointer(&pointer(&self.place, name), &key);
                    forms.push((key, Form::open(place, inner, known)));
                }
                Err(_) => self.fault_in(name, &key, "must be an object"),
            }
        }
        forms
    }

    /// A property that is an array of such objects.
    pub(in crate::http) fn open_items(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Vec<Form<'a>> {
        let Some(Items(items)) = self.optional(name, "an array of objects") else { return Vec::new() };
        let mut forms = Vec::new();
        for (index, raw) in items.into_iter().enumerate() {
            let index = index.to_string();
            match serde_json::from_str(raw.get()) {
                Ok(Members(inner)) => {
                    forms.push(Form::open(pointer(&pointer(&self.place, name), &index), inner, known));
                }
                Err(_) => self.fault_in(name, &index, "must be an object"),
            }
        }
        forms
    }

    /// A property that is an object of strings, none under two letter cases of one name.
    pub(in crate::http) fn named_texts(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (key, value) in self.optional_pairs(name).unwrap_or_default() {
            if map.insert(key.clone().into_owned(), value.into_owned()).is_some() {
                self.fault_in(name, &key, "is given twice");
            }
        }
        map
    }

    fn fault_in(&mut self, name: &str, key: &str, detail: &str) {
        self.faults
            .push(crate::domain::refusal::Fault::new(pointer(&pointer(&self.place, name), key), detail));
    }

    /// The places of the properties that are not known.
    pub(in crate::http) fn unknown(&self) -> Vec<String> {
        self.others().map(|(name, _)| pointer(&self.place, name)).collect()
    }
}
