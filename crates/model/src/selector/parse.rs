//! The text form of label selectors: tokens and grammar, with upstream's error texts.

use super::{Operator, Requirement, key_error};

/// Reads requirements in text order.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    Parser { tokens: scan(text), position: 0 }.parse()
}

/// A lexical token with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    Fault(String),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) | Token::Fault(text) => text,
            Token::Symbol(text) => text,
            Token::End => "",
        }
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self, Token::Symbol(own) if *own == symbol)
    }
}

const SYMBOLS: [&str; 9] = [")", ",", "!", "==", "=", ">", "<", "!=", "("];

fn scan(text: &str) -> Vec<Token> {
    let special = |letter: char| "=!(),><".contains(letter);
    let blank = |letter: char| " \t\r\n".contains(letter);
    let mut tokens = Vec::new();
    // A NUL ends the text for upstream's lexer.
    let mut rest = text.split('\0').next().unwrap_or_default();
    loop {
        rest = rest.trim_start_matches(blank);
        let Some(first) = rest.chars().next() else { break };
        if !special(first) {
            let end = rest.find(|letter| special(letter) || blank(letter)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
            continue;
        }
        let longest =
            SYMBOLS.iter().filter(|symbol| rest.starts_with(**symbol)).max_by_key(|symbol| symbol.len());
        match longest {
            Some(symbol) => {
                tokens.push(Token::Symbol(symbol));
                rest = &rest[symbol.len()..];
            }
            None => {
                tokens.push(Token::Fault(format!("error expected: keyword found '{first}'")));
                break;
            }
        }
    }
    tokens.push(Token::End);
    tokens
}

/// Reads requirements from tokens.
struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.position).unwrap_or(&Token::End)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn parse(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                token if starts_requirement(token) => {}
                token => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        token.text()
                    ));
                }
            }
            let requirement =
                self.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.take() {
                Token::End => return Ok(requirements),
                token if token.is(",") => {
                    let next = self.peek();
                    if !starts_requirement(next) {
                        return Err(format!("found '{}', expected: identifier after ','", next.text()));
                    }
                }
                token => return Err(format!("found '{}', expected: ',' or 'end of string'", token.text())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.take();
        let absent = token.is("!");
        if absent {
            token = self.take();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        if let Some(error) = key_error(&key, "<nil>") {
            return Err(error);
        }
        if absent {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if *self.peek() == Token::End || self.peek().is(",") {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let token = self.take();
        let operator = match token.text() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            "=" => Operator::Equals,
            "==" => Operator::DoubleEquals,
            "!=" => Operator::NotEquals,
            ">" => Operator::GreaterThan,
            "<" => Operator::LessThan,
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(&key, operator, values)
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let token = self.take();
        if !token.is("(") {
            return Err(format!("found '{}' expected: '('", token.text()));
        }
        if self.peek().is(")") {
            self.take();
            return Ok(vec![String::new()]);
        }
        if !matches!(self.peek(), Token::Word(_)) && !self.peek().is(",") {
            return Err(format!("found '{}', expected: ',', ')' or identifier", self.peek().text()));
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                Token::Word(word) => {
                    values.push(word);
                    let next = self.peek();
                    if next.is(")") {
                        break;
                    }
                    if !next.is(",") {
                        return Err(format!("found '{}', expected: ',' or ')'", next.text()));
                    }
                }
                token if token.is(",") => {
                    if values.is_empty() || self.peek().is(",") || self.peek().is(")") {
                        values.push(String::new());
                    }
                    if self.peek().is(")") {
                        break;
                    }
                }
                token => return Err(format!("found '{}', expected: ',', or identifier", token.text())),
            }
        }
        self.take();
        Ok(values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if *self.peek() == Token::End || self.peek().is(",") {
            return Ok(String::new());
        }
        match self.take() {
            Token::Word(word) => Ok(word),
            token => Err(format!("found '{}', expected: identifier", token.text())),
        }
    }
}

fn starts_requirement(token: &Token) -> bool {
    matches!(token, Token::Word(_)) || token.is("!")
}
