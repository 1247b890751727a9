//! Which variants of which enums stand in some bytes: a decoder that looks over the shoulder of the real one.
//!
//! serde tells a decoder every enum's name with the names of all its variants, so nobody has to keep a list: an
//! enum that stands in one golden file must stand in golden files with each of its variants.

use bincode::Options;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Visitor};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// An enum: its name and those of its variants.
type Kind = (&'static str, &'static [&'static str]);

/// The enums met, each with the numbers of the variants met.
#[derive(Default)]
pub struct Seen(RefCell<BTreeMap<Kind, BTreeSet<usize>>>);

impl Seen {
    /// Decodes bare bytes (no envelope) as a `T` and notes what stands in them.
    pub fn look<T: DeserializeOwned>(&self, bytes: &[u8]) {
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        let mut inner = bincode::Deserializer::from_slice(bytes, options);
        T::deserialize(self.watch(&mut inner, None)).unwrap();
    }

    /// `Enum::Variant` of every variant that was not met, of the enums that were.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for ((name, variants), met) in self.0.borrow().iter() {
            let absent = variants.iter().enumerate().filter(|(n, _)| !met.contains(n));
            missing.extend(absent.map(|(_, variant)| format!("{name}::{variant}")));
        }
        missing
    }

    /// The names of all enums met.
    pub fn enums(&self) -> BTreeSet<&'static str> {
        self.0.borrow().keys().map(|(name, _)| *name).collect()
    }

    fn watch<T>(&self, inner: T, number_of: Option<Kind>) -> Watch<'_, T> {
        Watch {
            inner,
            seen: self,
            number_of,
        }
    }
}

/// Anything serde hands on, with the notebook.
struct Watch<'s, T> {
    inner: T,
    seen: &'s Seen,
    /// Set where the next number read is that of this enum's variant.
    number_of: Option<Kind>,
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*))*) => {$(
        fn $name<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.seen.watch(visitor, self.number_of);
            self.inner.$name($($arg,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Watch<'_, D> {
    type Error = D::Error;
    forward! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32()
        deserialize_i64() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_seq() deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.seen.watch(visitor, Some((name, variants)));
        self.inner.deserialize_enum(name, variants, visitor)
    }
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($name:ident($type:ty))*) => {$(
        fn $name<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$name(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }
    visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64)
        visit_u8(u8) visit_u16(u16) visit_u64(u64) visit_f32(f32) visit_f64(f64)
        visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }
    fn visit_u32<E: de::Error>(self, value: u32) -> Result<V::Value, E> {
        if let Some(kind) = self.number_of {
            let mut seen = self.seen.0.borrow_mut();
            seen.entry(kind).or_default().insert(value as usize);
        }
        self.inner.visit_u32(value)
    }
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.seen.watch(d, None))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.seen.watch(d, None))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, a: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.seen.watch(a, None))
    }
    fn visit_map<A: de::MapAccess<'de>>(self, a: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.seen.watch(a, None))
    }
    fn visit_enum<A: de::EnumAccess<'de>>(self, a: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.seen.watch(a, self.number_of))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Watch<'_, S> {
    type Value = S::Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.seen.watch(d, self.number_of))
    }
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Watch<'_, A> {
    type Error = A::Error;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, s: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(self.seen.watch(s, None))
    }
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Watch<'_, A> {
    type Error = A::Error;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, s: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(self.seen.watch(s, None))
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, s: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.seen.watch(s, None))
    }
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 's, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Watch<'s, A> {
    type Error = A::Error;
    type Variant = Watch<'s, A::Variant>;
    fn variant_seed<S: DeserializeSeed<'de>>(self, s: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, rest) = self.inner.variant_seed(self.seen.watch(s, self.number_of))?;
        Ok((value, self.seen.watch(rest, None)))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Watch<'_, A> {
    type Error = A::Error;
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, s: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.seen.watch(s, None))
    }
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, v: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.seen.watch(v, None))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        v: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.seen.watch(v, None))
    }
}
