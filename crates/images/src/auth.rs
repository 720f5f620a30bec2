//! Registry authentication: reads `WWW-Authenticate` challenges (RFC 9110) and forms what answers them (basic, and
//! bearer tokens as the distribution project specifies).

use base64::Engine;
use serde::Deserialize;

use crate::registries::Credentials;

/// A challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// Service to name.
        service: String,
        /// Scope to ask for.
        scope: String,
        /// Why the last token was refused.
        error: String,
    },
}

/// The challenges of a header, in order; unknown schemes are passed over.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let (scheme, after) = rest.split_at(end);
        let (parameters, remainder) = parse_parameters(after);
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: get("service").unwrap_or_default(),
                scope: get("scope").unwrap_or_default(),
                error: get("error").unwrap_or_default(),
            });
        }
        // Each turn takes at least the scheme's characters or a separator.
        rest = if remainder.len() < rest.len() { remainder } else { &rest[rest.len()..] };
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

/// `key=value` or `key="value"`, separated by commas; stops where a new scheme begins.
fn parse_parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches([' ', ',', '\t']);
        let key_end = trimmed
            .find(|character: char| !(character.is_ascii_alphanumeric() || "-_.".contains(character)))
            .unwrap_or(trimmed.len());
        let (key, after) = trimmed.split_at(key_end);
        let Some(value) = after.strip_prefix('=').filter(|_| !key.is_empty()) else {
            return (parameters, trimmed);
        };
        if let Some(quoted) = value.strip_prefix('"') {
            let mut text = String::new();
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((index, character)) = characters.next() {
                match character {
                    '"' => {
                        end = index + 1;
                        break;
                    }
                    '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => text.push(other),
                }
            }
            parameters.push((key.to_owned(), text));
            rest = &quoted[end..];
        } else {
            let end = value.find([',', ' ']).unwrap_or(value.len());
            parameters.push((key.to_owned(), value[..end].to_owned()));
            rest = &value[end..];
        }
    }
}

/// The `Authorization` header of basic authentication.
pub fn basic_header(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// How to ask for a token.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenRequest {
    /// GET this URL, with basic authentication if there are credentials.
    Get {
        /// URL.
        url: String,
        /// `Authorization` header.
        authorization: Option<String>,
    },
    /// POST this form to the realm.
    Post {
        /// URL.
        url: String,
        /// Form.
        form: String,
    },
}

/// Forms the request for a token.
pub fn token_request(
    realm: &str,
    service: &str,
    scope: &str,
    credentials: Option<&Credentials>,
) -> TokenRequest {
    if let Some(credentials) = credentials.filter(|credentials| !credentials.identity_token.is_empty()) {
        let form = encode_form(&[
            ("scope", scope),
            ("service", service),
            ("client_id", "carob"),
            ("grant_type", "refresh_token"),
            ("refresh_token", &credentials.identity_token),
        ]);
        return TokenRequest::Post { url: realm.to_owned(), form };
    }
    let mut pairs = Vec::new();
    if !service.is_empty() {
        pairs.push(("service", service));
    }
    pairs.extend(scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    let separator = if realm.contains('?') { '&' } else { '?' };
    let url = if pairs.is_empty() {
        realm.to_owned()
    } else {
        format!("{realm}{separator}{}", encode_form(&pairs))
    };
    let authorization = credentials.filter(|credentials| !credentials.password.is_empty()).map(basic_header);
    TokenRequest::Get { url, authorization }
}

fn encode_form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

/// The token in a token service's answer.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_token(bytes: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|error| format!("unable to decode token response: {error}"))?;
    let token = if answer.access_token.is_empty() { answer.token } else { answer.access_token };
    if token.is_empty() {
        return Err("authorization server did not include a token in the response".to_owned());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |error: &str| Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: "registry, inc".to_owned(),
            scope: "repository:a/b:pull".to_owned(),
            error: error.to_owned(),
        };
        let cases = [
            (
                r#"Bearer realm="https://auth.example/token",service="registry, inc",scope="repository:a/b:pull""#,
                vec![bearer("")],
            ),
            (
                r#"Basic realm="x", bearer realm="https://auth.example/token", service="registry, inc", scope="repository:a/b:pull", error="insufficient_scope""#,
                vec![Challenge::Basic, bearer("insufficient_scope")],
            ),
            ("Basic", vec![Challenge::Basic]),
            ("Negotiate, Basic realm=x", vec![Challenge::Basic]),
            ("Bearer", vec![]),
            ("", vec![]),
            (",,, =\" \\", vec![]),
        ];
        for (header, expected) in cases {
            assert_eq!(parse_challenges(header), expected, "{header}");
        }
    }

    #[test]
    fn tokens_are_asked_for() {
        let user =
            Credentials { username: "u".to_owned(), password: "p".to_owned(), ..Credentials::default() };
        assert_eq!(
            token_request("https://a/t", "reg", "repository:x:pull", Some(&user)),
            TokenRequest::Get {
                url: "https://a/t?service=reg&scope=repository%3Ax%3Apull".to_owned(),
                authorization: Some("Basic dTpw".to_owned()),
            }
        );
        let refresh = Credentials { identity_token: "r&".to_owned(), ..Credentials::default() };
        assert_eq!(
            token_request("https://a/t", "reg", "s", Some(&refresh)),
            TokenRequest::Post {
                url: "https://a/t".to_owned(),
                form: "scope=s&service=reg&client_id=carob&grant_type=refresh_token&refresh_token=r%26"
                    .to_owned(),
            }
        );
        assert_eq!(parse_token(br#"{"token":"a","access_token":"b"}"#), Ok("b".to_owned()));
        assert!(parse_token(b"{}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_header_or_token_breaks_the_reader(seed: u64) {
            let headers = [
                "Bearer realm=\"https://auth.example/token\",service=\"registry, inc\",scope=\"repository:a/b:pull\",error=\"x\\\"y\"",
                "Basic realm=\"x\", Bearer realm=https://a.example , Negotiate",
            ];
            let _ = parse_challenges(&stdx::mutate::mutated_text(&headers, seed));
            let _ = parse_token(&stdx::mutate::mutated(&[r#"{"token":"a","access_token":"b","expires_in":300}"#], seed));
        }
    }
}
