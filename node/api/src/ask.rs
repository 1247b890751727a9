//! What a request says: ids in paths, queries, JSON bodies. Everything wrong with it gets a named error.

use crate::{
    answer::Failure,
    context::Context,
    limits::{BODY_SMALL, BODY_TOTAL, ID_CHARS},
};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{header::CONTENT_LENGTH, request::Parts},
};
use bytes::{Bytes, BytesMut};
use hive_runtime::port::NodeHandle;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

/// An id, prefix or name from the path. `WHAT` is not known here, so it is checked when asked for.
pub(crate) struct Id(String);

impl Id {
    /// The id of a `what`.
    ///
    /// # Errors
    /// 404 `<what>.not_found` for text that can be the id of nothing.
    pub(crate) fn of(self, what: &str) -> Result<String, Failure> {
        let plain = !self.0.is_empty()
            && self.0.chars().take(ID_CHARS + 1).count() <= ID_CHARS
            && !self.0.contains(['/', '\\'])
            && !self.0.chars().any(char::is_control)
            && self.0 != "."
            && self.0 != "..";
        if plain {
            Ok(self.0)
        } else {
            let shown: String = self.0.escape_debug().take(ID_CHARS).collect();
            Err(NodeHandle::not_found(what, &shown).into())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            // Not UTF-8: kept as something that is the id of nothing.
            Err(_) => Ok(Self("\u{0}".into())),
        }
    }
}

/// The query, with unknown parameters refused.
pub(crate) struct Args<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Args<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(args)| Self(args))
            .map_err(|e| {
                use std::error::Error;
                let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
                Failure::invalid(
                    "api.bad_query",
                    format!("the query is wrong: {why}{}", did_you_mean(&why)),
                )
            })
    }
}

/// A JSON body of at most [`BODY_SMALL`].
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Context> for Json<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, context: &Context) -> Result<Self, Failure> {
        let held = read(request, BODY_SMALL, context).await?;
        parse(&held.bytes).map(Self)
    }
}

/// A body in memory.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// Its share of the memory for all of them; kept as long as what was read from it.
    pub(crate) budget: Option<OwnedSemaphorePermit>,
}

/// Reads a whole body of at most `most` bytes.
pub(crate) async fn read(request: Request, most: usize, context: &Context) -> Result<Held, Failure> {
    let told = told_length(&request);
    let mut body = request.into_body();
    if told.is_some_and(|n| n > most as u64) {
        drain(&mut body).await;
        return Err(Failure::too_large("the request body", most as u64));
    }
    let whole = async {
        let mut bytes = BytesMut::new();
        let mut budget: Option<OwnedSemaphorePermit> = None;
        loop {
            let data = match timeout(context.bounds().body_stall, body.frame()).await {
                Err(_) => return Err(Failure::body_stalled()),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Failure::body_cut()),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue, // trailers say nothing here
                },
            };
            if bytes.len() + data.len() > most {
                drain(&mut body).await;
                return Err(Failure::too_large("the request body", most as u64));
            }
            let share = context.hold(data.len())?;
            match &mut budget {
                Some(budget) => budget.merge(share),
                None => budget = Some(share),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held {
            bytes: bytes.freeze(),
            budget,
        })
    };
    timeout(BODY_TOTAL, whole)
        .await
        .unwrap_or_else(|_| Err(Failure::body_stalled()))
}

/// The length a request promises for its body.
pub(crate) fn told_length(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes a little of a body nobody wants, so that a client still sending it can hear why.
pub(crate) async fn drain(body: &mut Body) {
    const MOST: usize = 4 << 20;
    const LONGEST: Duration = Duration::from_secs(1);
    let _ = timeout(LONGEST, async {
        let mut seen = 0;
        while seen < MOST {
            match body.frame().await {
                Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
                _ => break,
            }
        }
    })
    .await;
}

/// Reads JSON; errors name the field and, for a misspelt one, the likely right one.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let field = e.path().to_string();
        let inner = e.into_inner();
        let why = inner.to_string();
        let code = if inner.is_data() {
            "api.bad_field"
        } else {
            "api.bad_json"
        };
        let place = if field == "." || !inner.is_data() {
            String::new()
        } else {
            format!("`{field}`: ")
        };
        Failure::invalid(
            code,
            format!("the request body is wrong: {place}{why}{}", did_you_mean(&why)),
        )
    })?;
    json.end().map_err(|e| {
        Failure::invalid(
            "api.bad_json",
            format!("something follows the JSON of the request body: {e}"),
        )
    })?;
    Ok(value)
}

/// For serde's "unknown field `x`, expected one of `a`, `b`": which of them was meant.
fn did_you_mean(why: &str) -> String {
    // serde puts the field's path before it.
    let Some((_, rest)) = why
        .split_once("unknown field ")
        .or_else(|| why.split_once("unknown variant "))
    else {
        return String::new();
    };
    // Every second piece stands between backticks.
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let wrong = quoted.next().unwrap_or_default();
    closest(wrong, quoted).map_or_else(String::new, |right| format!(" (did you mean `{right}`?)"))
}

/// The name nearest to a misspelt one, where one is near.
pub(crate) fn closest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if wrong.len() > LONGEST {
        return None;
    }
    names
        .into_iter()
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (distance(wrong, name), name))
        .min()
        .filter(|(d, name)| *d <= 2 && *d < name.len())
        .map(|(_, name)| name)
}

/// Edit distance (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut last = i;
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            left = (left + 1).min(above + 1).min(last + usize::from(x != *y));
            last = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_runtime::port::MeshRequest;

    #[test]
    fn a_misspelt_field_is_named_with_the_right_one() {
        let text = br#"{"nam":"lab","mint":1,"default_score":50,"worker":true}"#;
        let failure = parse::<MeshRequest>(text).err().unwrap();
        let text = format!("{failure:?}");
        assert!(text.contains("unknown field `nam`"), "{text}");
        assert!(text.contains("did you mean `name`?"), "{text}");
    }

    #[test]
    fn a_wrong_value_names_its_field_and_no_guess_is_made_for_nonsense() {
        let text = br#"{"name":"lab","mint":"x","default_score":50,"worker":true}"#;
        let text = format!("{:?}", parse::<MeshRequest>(text).err().unwrap());
        assert!(text.contains("`mint`: invalid type"), "{text}");
        let text = br#"{"quux":1}"#;
        let text = format!("{:?}", parse::<MeshRequest>(text).err().unwrap());
        assert!(!text.contains("did you mean"), "{text}");
        assert!(format!("{:?}", parse::<u32>(b"1 2").err().unwrap()).contains("api.bad_json"));
        assert!(format!("{:?}", parse::<u32>(b"").err().unwrap()).contains("api.bad_json"));
    }

    #[test]
    fn edit_distance() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
        assert_eq!(closest("limts", ["limits", "need"]), Some("limits"));
        assert_eq!(closest("ab", ["cd"]), None);
    }
}
