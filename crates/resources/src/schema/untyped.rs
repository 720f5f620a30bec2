//! Reading a value without a schema (custom resources, raw extensions), noting duplicate keys on the way.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::typed::{Context, PathPart};

/// Reads anything; `tracked`: duplicate keys are noted.
pub struct Untyped<'c> {
    /// Where we are.
    pub context: &'c mut Context,
    /// Whether duplicates count.
    pub tracked: bool,
}

impl<'de> DeserializeSeed<'de> for Untyped<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Untyped<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Upstream's trees hold int64 or float64, nothing between.
        Ok(i64::try_from(value).map_or_else(|_| (value as f64).into(), Value::from))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let tracked = self.tracked;
        let mut list = Vec::new();
        loop {
            let at = list.len();
            let element = self.context.within(PathPart::Index(at), |context| {
                source.next_element_seed(Untyped { context, tracked })
            })?;
            match element {
                Some(element) => list.push(element),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let tracked = self.tracked;
        let mut map = Map::new();
        while let Some(key) = source.next_key::<String>()? {
            if tracked && map.contains_key(&key) {
                self.context.strict_error("duplicate field", &key);
            }
            let value = self.context.within(PathPart::Key(&key), |context| {
                source.next_value_seed(Untyped { context, tracked })
            })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
