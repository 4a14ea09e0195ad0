//! Reading a request's form: JSON objects whose properties match in any letter case, every
//! fault with its place. Numbers stay text, so that no quantity passes through a float.

mod lists;
mod open;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::domain::command::{PerMeasure, Quantities};
use crate::domain::dimensions::Pairs;
use crate::domain::name::{InvalidText, Value};
use crate::domain::refusal::{Fault, Refusal, pointer};

use super::problem::Problem;

/// A JSON text, borrowed from the body where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// An object whose members all hold a `V`, in the order given.
struct Object<'a, V>(Vec<(Cow<'a, str>, V)>);

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Object<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a, V>, D::Error> {
        struct ObjectVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for ObjectVisitor<V> {
            type Value = Object<'de, V>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de, V>, A::Error> {
                let mut members = Vec::with_capacity(10);
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// An object's members, each to be read later.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        Object::deserialize(deserializer).map(|Object(members)| Members(members))
    }
}

/// An array's items.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items<'a>, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], expected: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Problem::invalid("", format!("must be {expected}")),
        Category::Io | Category::Syntax | Category::Eof => Problem::MalformedJson(error.to_string()),
    })
}

/// Splits a body into the items of an array.
///
/// # Errors
/// When it is not JSON, no array, or has more items than allowed.
pub(super) fn items(body: &[u8], most: usize) -> Result<Vec<&RawValue>, Problem> {
    let Items(items) = parse(body, "an array")?;
    if items.len() > most {
        return Err(Problem::invalid("", format!("has {} lines, at most {most} are allowed", items.len())));
    }
    Ok(items)
}

/// The id that a body gives, however wrong the rest of it is: whoever sent it wants to know
/// which event was not done.
pub(super) fn id_of(body: &[u8]) -> Option<Value> {
    let Members(members) = serde_json::from_slice(body).ok()?;
    let (_, raw) = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("id"))?;
    let Text(text) = serde_json::from_str(raw.get()).ok()?;
    Value::parse(&text).ok()
}

/// Whether a body says that a property is true, however wrong the rest of it is.
pub(super) fn is_set(body: &[u8], name: &str) -> bool {
    let Ok(Members(members)) = serde_json::from_slice(body) else { return false };
    members.iter().any(|(own, raw)| own.eq_ignore_ascii_case(name) && raw.get() == "true")
}

/// An object of a request while it is read. Faults are collected, so that whoever sent it
/// sees all of them at once.
pub(super) struct Form<'a> {
    place: String,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    known: &'static [&'static str],
    faults: Vec<Fault>,
}

impl<'a> Form<'a> {
    /// Reads a body as an object with these properties and no others.
    ///
    /// # Errors
    /// When it is not JSON, no object, or has another property.
    pub(super) fn read(body: &'a [u8], known: &'static [&'static str]) -> Result<Form<'a>, Problem> {
        let Members(members) = parse(body, "an object")?;
        Form::of(String::new(), members, known)
    }

    /// Reads an item of a body at its place.
    ///
    /// # Errors
    /// When it is no object, or has another property.
    pub(super) fn read_at(
        place: &str,
        raw: &'a RawValue,
        known: &'static [&'static str],
    ) -> Result<Form<'a>, Problem> {
        let Ok(Members(members)) = serde_json::from_str(raw.get()) else {
            return Err(Problem::invalid(place, "must be an object"));
        };
        Form::of(place.to_owned(), members, known)
    }

    fn of(
        place: String,
        members: Vec<(Cow<'a, str>, &'a RawValue)>,
        known: &'static [&'static str],
    ) -> Result<Form<'a>, Problem> {
        let form = Form::open(place, members, known);
        if let Some((name, _)) = form.others().next() {
            let known = known.iter().map(|&name| name.to_owned()).collect();
            return Err(Refusal::UnknownProperty { pointer: pointer(&form.place, name), known }.into());
        }
        Ok(form)
    }

    /// An object with these properties and perhaps others.
    fn open(
        place: String,
        members: Vec<(Cow<'a, str>, &'a RawValue)>,
        known: &'static [&'static str],
    ) -> Form<'a> {
        let mut form = Form { place, members, known, faults: Vec::new() };
        // By the known names, which are few: the members may be very many.
        for &name in known {
            if form.members.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).nth(1).is_some() {
                form.fault(name, "is given twice");
            }
        }
        form
    }

    /// The properties beside the known ones.
    fn others(&self) -> impl Iterator<Item = &(Cow<'a, str>, &'a RawValue)> {
        let is_known = |name: &str| self.known.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.members.iter().filter(move |(name, _)| !is_known(name))
    }

    fn fault(&mut self, name: &str, detail: impl fmt::Display) {
        self.faults.push(Fault::new(pointer(&self.place, name), detail));
    }

    /// A property's JSON text; a null is as good as absent.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        debug_assert!(self.known.contains(&name), "{name} is not a property of this form");
        let member = self.members.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        member.map(|(_, raw)| raw.get()).filter(|&raw| raw != "null")
    }

    fn required<T: Default>(&mut self, name: &str, value: Option<T>) -> T {
        if value.is_none() && self.raw(name).is_none() {
            self.fault(name, "must be given");
        }
        value.unwrap_or_default()
    }

    /// Parses a property that may be absent.
    pub(super) fn optional<T: Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Option<T> {
        let raw = self.raw(name)?;
        match serde_json::from_str(raw) {
            Ok(value) => Some(value),
            Err(_) => {
                self.fault(name, format!("must be {expected}"));
                None
            }
        }
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.optional::<Text<'a>>(name, "a string").map(|Text(text)| text)
    }

    /// An identifier: a value that is not empty.
    pub(super) fn value(&mut self, name: &str) -> Value {
        let text = self.optional_text(name);
        let given = text.is_some();
        let text = self.required(name, text);
        match Value::parse(&text) {
            Ok(value) => return value,
            Err(error) if given => self.fault(name, error),
            Err(_) => {}
        }
        Value::empty()
    }

    /// A value that may be absent.
    pub(super) fn optional_value(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<Value, InvalidText>,
    ) -> Option<Value> {
        let text = self.optional_text(name)?;
        parse(&text).map_err(|error| self.fault(name, error)).ok()
    }

    pub(super) fn text(&mut self, name: &str) -> Cow<'a, str> {
        let text = self.optional_text(name);
        self.required(name, text)
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.optional(name, "true or false")
    }

    /// A number, or a string of digits, as its text: what it says is the core's matter.
    pub(super) fn quantity(&mut self, name: &str) -> Cow<'a, str> {
        let quantity = self.raw(name).and_then(quantity_text);
        if quantity.is_none() && self.raw(name).is_some() {
            self.fault(name, "must be a number, or a string of digits");
        }
        self.required(name, quantity)
    }

    /// An object of strings.
    pub(super) fn optional_pairs(&mut self, name: &str) -> Option<Pairs<'a>> {
        // Nearly always all is well; where it is not, each fault is looked for.
        if let Some(Ok(Object(pairs))) = self.raw(name).map(serde_json::from_str) {
            return Some(pairs.into_iter().map(|(name, Text(value))| (name, value)).collect());
        }
        let Members(members) = self.optional(name, "an object of strings")?;
        let mut pairs = Pairs::new();
        for (key, raw) in members {
            match serde_json::from_str::<Text<'a>>(raw.get()) {
                Ok(Text(value)) => pairs.push((key, value)),
                Err(_) => self
                    .faults
                    .push(Fault::new(pointer(&pointer(&self.place, name), &key), "must be a string")),
            }
        }
        Some(pairs)
    }

    pub(super) fn pairs(&mut self, name: &str) -> Pairs<'a> {
        let pairs = self.optional_pairs(name);
        self.required(name, pairs)
    }

    /// An object of objects, each innermost value read by `read`.
    pub(super) fn nested<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Option<PerMeasure<'a, T>> {
        let Members(outer) = self.optional(name, "an object of objects")?;
        Some(self.nested_at(&pointer(&self.place, name), outer, expected, read))
    }

    fn nested_at<T>(
        &mut self,
        place: &str,
        outer: Vec<(Cow<'a, str>, &'a RawValue)>,
        expected: &str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> PerMeasure<'a, T> {
        let mut nested = Vec::new();
        for (key, raw) in outer {
            let place = || pointer(place, &key);
            let Ok(Members(inner)) = serde_json::from_str(raw.get()) else {
                self.faults.push(Fault::new(place(), "must be an object"));
                continue;
            };
            let mut values = Vec::new();
            for (inner_key, raw) in inner {
                match read(raw.get()) {
                    Some(value) => values.push((inner_key, value)),
                    None => self
                        .faults
                        .push(Fault::new(pointer(&place(), &inner_key), format!("must be {expected}"))),
                }
            }
            nested.push((key, values));
        }
        nested
    }

    /// Quantities per data source and measure.
    pub(super) fn quantities(&mut self, name: &str) -> Quantities<'a> {
        let quantities = self.nested(name, "a number, or a string of digits", quantity_text);
        self.required(name, quantities)
    }

    /// A property that is an object with properties of its own.
    ///
    /// # Errors
    /// When it has an unknown one.
    pub(super) fn form(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Form<'a>>, Problem> {
        let Some(Members(members)) = self.optional(name, "an object") else { return Ok(None) };
        Form::of(pointer(&self.place, name), members, known).map(Some)
    }

    /// An object whose members are objects with the same properties.
    ///
    /// # Errors
    /// When one has an unknown property.
    pub(super) fn forms(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Result<Vec<(Cow<'a, str>, Form<'a>)>, Problem> {
        let members: Option<Members<'a>> = self.optional(name, "an object of objects");
        let mut forms = Vec::new();
        for (key, raw) in members.map_or_else(Vec::new, |Members(members)| members) {
            let place = pointer(&pointer(&self.place, name), &key);
            match serde_json::from_str(raw.get()) {
                Ok(Members(members)) => forms.push((key, Form::of(place, members, known)?)),
                Err(_) => self.faults.push(Fault::new(place, "must be an object")),
            }
        }
        Ok(forms)
    }

    /// Takes over the faults of an inner form.
    pub(super) fn absorb(&mut self, inner: Form<'a>) {
        self.faults.extend(inner.faults);
    }

    /// Adds a fault of a value that was read.
    pub(super) fn reject(&mut self, name: &str, detail: impl fmt::Display) {
        self.fault(name, detail);
    }

    /// Names a property that is needed and absent.
    pub(super) fn must_have(&mut self, name: &str) {
        if self.raw(name).is_none() {
            self.fault(name, "must be given");
        }
    }

    /// Ends the reading of one of many.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When there were faults.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() { Ok(()) } else { Err(Refusal::InvalidRequest(self.faults).into()) }
    }
}

fn quantity_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(raw).ok().map(|Text(text)| text),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}
