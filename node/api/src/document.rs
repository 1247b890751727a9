//! The shape of every document: `{"v":1, "<what>": …}`, and how it is read back.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};
use std::{fmt, marker::PhantomData};

/// Version of all documents. Fields are only ever added; a change of meaning would be a new number.
pub const VERSION: u32 = 1;

/// One document: a version and one thing under its name.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a, T> {
    name: &'a str,
    value: T,
}

impl<'a, T: Serialize> Document<'a, T> {
    /// Puts `value` under `name`.
    #[must_use]
    pub const fn new(name: &'a str, value: T) -> Self {
        Self { name, value }
    }
}

impl<T: Serialize> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("v", &VERSION)?;
        map.serialize_entry(self.name, &self.value)?;
        map.end()
    }
}

/// Takes the thing called `name` out of a document.
///
/// # Errors
/// When the bytes are no JSON, carry another version, or nothing of that name and shape.
pub fn read<T: DeserializeOwned>(name: &'static str, bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Named::<T> {
        name,
        of: PhantomData,
    }
    .deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

struct Named<T> {
    name: &'static str,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Named<T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Named<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a document of version {VERSION} with `{}`", self.name)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        use serde::de::Error;
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.name {
                found = Some(map.next_value()?);
            } else if key == "v" {
                let v: u32 = map.next_value()?;
                if v != VERSION {
                    return Err(A::Error::custom(format!(
                        "document of version {v}; this program reads version {VERSION}"
                    )));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| A::Error::missing_field(self.name))
    }
}

/// What is known of the trust in an account or node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustView {
    /// Account id.
    pub account: String,
    /// Trust score.
    pub score: u32,
    /// `low`, `normal` or `high`.
    pub tier: String,
    /// Latest reasons of score changes: (time, score afterwards, reason).
    pub reasons: Vec<(u64, u32, String)>,
}

/// One chunk of a task's log on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Whether it is standard error.
    pub stderr: bool,
    /// The bytes in base 64.
    pub data: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_document_comes_back_whatever_is_added_to_it() {
        let text = serde_json::to_string(&Document::new("jobs", vec![1, 2])).unwrap();
        assert_eq!(text, r#"{"v":1,"jobs":[1,2]}"#);
        let more = br#"{"later":{"x":[1]},"jobs":[3],"v":1}"#;
        assert_eq!(read::<Vec<u32>>("jobs", more).unwrap(), [3]);
    }

    #[test]
    fn other_versions_and_other_names_are_refused() {
        assert!(
            read::<u32>("n", br#"{"v":2,"n":1}"#)
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
        assert!(read::<u32>("n", br#"{"v":1,"m":1}"#).is_err());
        assert!(read::<u32>("n", br#"{"v":1,"n":1} x"#).is_err());
        assert!(read::<u32>("n", b"[]").is_err());
    }
}
