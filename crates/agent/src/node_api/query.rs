//! Query parameters and percent encoding.

/// The parameters of a request, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URI after `?`.
    pub fn parse(text: Option<&str>) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        };
        Self(text.unwrap_or_default().split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A flag as upstream's conversion of query values reads it: present and not `false` or `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// A flag of exec and attach: `1`, or `true` as the API server's own parameters have it.
    pub fn switch(&self, names: [&str; 2]) -> bool {
        names.iter().any(|name| self.get(name).is_some_and(|value| value == "1" || value == "true"))
    }
}

/// Undoes percent encoding; what is no encoding stays.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo+a%26b%20%C3%A4&tty=1&x&y=%zz%4"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a&b ä"]);
        assert_eq!((query.get("x"), query.get("y"), query.get("z")), (Some(""), Some("%zz%4"), None));
        assert!(query.switch(["tty", "t"]) && !query.switch(["x", "y"]));
        assert!(query.flag("x") && !query.flag("z") && !Query::parse(Some("f=False")).flag("f"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in ".{0,100}") {
            let _ = Query::parse(Some(&text));
        }
    }
}
