//! Problems: what is wrong with a configuration, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// How many problems one check reports. A file with more has something wrong at its root, and the
/// bound keeps a hostile file from growing an endless answer.
const MOST: usize = 1_000;

/// What sort of mistake a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The text is not the YAML that is read here.
    Syntax,
    /// A key or a value that the schema does not allow.
    Schema,
    /// Well-formed, but it does not make sense together with the rest.
    Invalid,
    /// Known by name; what would enforce it is not built yet.
    NotBuilt,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where in the document, such as `listeners[0].filters[2].rate_limit.burst`. Empty for the
    /// document as a whole.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong. Never contains a secret.
    pub message: String,
    /// What to do about it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What sort of mistake it is.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Every problem of one configuration, in the order of its lines. Displayed one per line as
/// `FILE:LINE:COLUMN: path: message (hint)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// Where the configuration came from: a file's path, or `admin`.
    pub source: String,
    /// The problems, sorted by position.
    pub problems: Vec<Problem>,
    /// How many more there are than are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Problems {
    /// A list of the one problem that there is no document to look at, because `message`. For
    /// callers whose source cannot be read, or is not UTF-8.
    #[must_use]
    pub fn unreadable(source: impl Into<String>, message: impl Into<String>) -> Self {
        let problem = Problem {
            path: String::new(),
            line: 1,
            column: 1,
            message: message.into(),
            hint: None,
            kind: ProblemKind::Syntax,
        };
        Self { source: source.into(), problems: vec![problem], omitted: 0 }
    }

    /// The problems, sorted by position.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// Whether every problem is that something is not built yet.
    #[must_use]
    pub fn only_not_built(&self) -> bool {
        self.omitted == 0 && self.problems.iter().all(|problem| problem.kind == ProblemKind::NotBuilt)
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.source)?;
        }
        if self.omitted > 0 {
            write!(f, "\n{}: and {} more", self.source, self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A place in the text: line and column, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Collects problems while a document is read and checked.
#[derive(Default)]
pub(crate) struct Collector {
    problems: Vec<Problem>,
    omitted: usize,
}

impl Collector {
    pub(crate) fn push(
        &mut self,
        kind: ProblemKind,
        at: Position,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.is_full() {
            return self.omit();
        }
        self.problems.push(Problem {
            path: path.into(),
            line: at.line,
            column: at.column,
            message: message.into(),
            hint,
            kind,
        });
    }

    /// Whether further problems are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= MOST
    }

    /// Counts a problem that is not listed.
    pub(crate) fn omit(&mut self) {
        self.omitted += 1;
    }

    /// Shorthand for a problem of the kind that says: well-formed, but it makes no sense.
    pub(crate) fn invalid(
        &mut self,
        at: Position,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.push(ProblemKind::Invalid, at, path, message, hint);
    }

    /// How many problems speak against the document itself, not against what is not built.
    pub(crate) fn weight(&self) -> usize {
        self.problems.iter().filter(|problem| problem.kind != ProblemKind::NotBuilt).count() + self.omitted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Takes over what another collector holds.
    pub(crate) fn append(&mut self, other: Self) {
        for problem in other.problems {
            let at = Position { line: problem.line, column: problem.column };
            self.push(problem.kind, at, problem.path, problem.message, problem.hint);
        }
        self.omitted += other.omitted;
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Problem) -> bool) {
        self.problems.retain(keep);
    }

    /// The sorted list, without repetitions.
    pub(crate) fn finish(mut self, source: &str) -> Problems {
        self.problems.sort_by(|a, b| {
            (a.line, a.column, &a.path, &a.message).cmp(&(b.line, b.column, &b.path, &b.message))
        });
        self.problems.dedup();
        Problems { source: source.to_owned(), problems: self.problems, omitted: self.omitted }
    }
}

/// The hint for a misspelt name: the closest of the known ones, if any is close.
#[must_use]
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Comparing costs the product of both lengths; no name of ours is long.
    if written.len() > 80 {
        return None;
    }
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// How much of a text from the document is quoted.
const MOST_QUOTED: usize = 40;

/// A text short enough and plain enough to stand in a message.
pub(crate) fn shorten(text: &str) -> String {
    let plain: String = text.chars().take(MOST_QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().count() > MOST_QUOTED { format!("{plain}…") } else { plain }
}
