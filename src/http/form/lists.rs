//! Reading lists of texts, and objects whose properties are not all known.

use std::borrow::Cow;

use crate::domain::refusal::pointer;

use super::{Form, Members, Text};

type List<'a> = Vec<Cow<'a, str>>;

fn list(texts: Vec<Text<'_>>) -> List<'_> {
    texts.into_iter().map(|Text(text)| text).collect()
}

impl<'a> Form<'a> {
    /// An array of strings.
    pub(in crate::http) fn optional_texts(&mut self, name: &str) -> Option<List<'a>> {
        self.optional(name, "an array of strings").map(list)
    }

    pub(in crate::http) fn texts(&mut self, name: &str) -> List<'a> {
        let texts = self.optional_texts(name);
        self.required(name, texts)
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
