//! Columns of text: Go's `text/tabwriter`. A cell is text ended by a tab; a column is a block of cells in successive
//! lines; what follows the last tab of a line belongs to no column.

/// How columns are made.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Least width of a column, padding included.
    pub width_min: usize,
    /// Spaces after the longest cell.
    pub padding: usize,
}

/// As kubectl prints tables.
pub const TABLE: Layout = Layout { width_min: 6, padding: 3 };
/// As kubectl describes objects.
pub const DESCRIBE: Layout = Layout { width_min: 0, padding: 2 };

/// Lays text out.
pub fn align(text: &str, layout: Layout) -> String {
    let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let ended = lines.last().is_some_and(|line| line == &[""]);
    if ended {
        lines.pop();
    }
    let mut out = Out { layout, lines: &lines, text: String::with_capacity(text.len() * 2) };
    out.format(&mut Vec::new(), 0, lines.len());
    if !ended {
        out.text.pop();
    }
    out.text
}

struct Out<'a> {
    layout: Layout,
    lines: &'a [Vec<&'a str>],
    text: String,
}

impl Out<'_> {
    fn format(&mut self, widths: &mut Vec<usize>, from: usize, to: usize) {
        let column = widths.len();
        let mut written = from;
        let mut at = from;
        while at < to {
            if column + 1 >= self.lines[at].len() {
                at += 1;
                continue;
            }
            self.write(widths, written, at);
            let start = at;
            let mut width = self.layout.width_min;
            while at < to && column + 1 < self.lines[at].len() {
                width = width.max(self.lines[at][column].chars().count() + self.layout.padding);
                at += 1;
            }
            widths.push(width);
            self.format(widths, start, at);
            widths.pop();
            written = at;
            // As in Go, where the loop's own step passes over the line that ended the block: it has no such cell.
            at += 1;
        }
        self.write(widths, written, to);
    }

    fn write(&mut self, widths: &[usize], from: usize, to: usize) {
        for line in &self.lines[from..to] {
            for (at, cell) in line.iter().enumerate() {
                self.text.push_str(cell);
                if let Some(width) = widths.get(at)
                    && at + 1 < line.len()
                {
                    let fill = width.saturating_sub(cell.chars().count());
                    self.text.extend(std::iter::repeat_n(' ', fill));
                }
            }
            self.text.push('\n');
        }
    }
}

/// A table whose column widths stay as they were when more rows come later.
#[derive(Debug, Default)]
pub struct Remembered {
    widths: Vec<usize>,
}

impl Remembered {
    /// Rows laid out, with columns at least as wide as before.
    pub fn align(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            for (at, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
                let width = (cell.chars().count() + TABLE.padding).max(TABLE.width_min);
                match self.widths.get_mut(at) {
                    Some(known) => *known = width.max(*known),
                    None => self.widths.push(width),
                }
            }
        }
        let mut text = String::new();
        for row in rows {
            for (at, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if at + 1 < row.len() {
                    let fill =
                        self.widths.get(at).map_or(0, |width| width.saturating_sub(cell.chars().count()));
                    text.extend(std::iter::repeat_n(' ', fill));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_blocks_of_cells() {
        let text = "Name:\tx\nNamespace:\ty\nContainers:\n  a:\n    Image:\tb\n    ID:\tc\nQoS:\td\n";
        let want =
            "Name:       x\nNamespace:  y\nContainers:\n  a:\n    Image:  b\n    ID:     c\nQoS:        d\n";
        assert_eq!(align(text, DESCRIBE), want);
        let text = "a\tb\tc\nlonger\tb\n\tx\ty\n";
        assert_eq!(align(text, DESCRIBE), "a       b  c\nlonger  b\n        x  y\n");
        assert_eq!(align("Type \tTrue \n", DESCRIBE), "Type   True \n");
        assert_eq!(align("NAME\tA\nx\t\n", TABLE), "NAME   A\nx      \n");
    }
}
