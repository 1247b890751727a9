//! Percentiles and tables.

/// The value below which this share (0 to 1) of the sorted values lies; 0 for none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Sorts numbers.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median; 0 for none.
pub fn median(values: Vec<f64>) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// Prints rows in columns: the first to the left, the others to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count());
        cells
            .chain(head.get(n).map(|h| h.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let line = |cells: &[String]| {
        let mut out = String::new();
        for (n, cell) in cells.iter().enumerate() {
            let wide = width(n);
            out += &if n == 0 {
                format!("{cell:<wide$}")
            } else {
                format!("  {cell:>wide$}")
            };
        }
        println!("{}", out.trim_end());
    };
    line(&head.iter().map(ToString::to_string).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_many() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < f64::EPSILON, "{a} is not {b}");
        close(quantile(&[], 0.5), 0.0);
        close(median(vec![3.0, 1.0, 2.0]), 2.0);
        let many: Vec<f64> = (0..=100).map(f64::from).collect();
        close(quantile(&many, 0.99), 99.0);
        close(quantile(&many, 1.0), 100.0);
    }
}
