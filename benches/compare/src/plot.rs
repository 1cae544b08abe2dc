//! Plots: lines over a doubling axis, as SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::store::Result;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: &'static str,
    /// Points; both coordinates above 0.
    pub points: Vec<(f64, f64)>,
}

/// What a plot says besides its lines.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Above it.
    pub title: &'static str,
    /// Along the bottom; bytes.
    pub below: &'static str,
    /// Along the side.
    pub beside: &'static str,
}

const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 96, 20), RGBColor(44, 140, 60), RGBColor(130, 80, 170)];

/// Writes the plot; both axes are logarithmic.
///
/// # Errors
/// Where there is no point, or the file cannot be written.
pub fn write(path: &Path, labels: Labels, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points).copied();
    let x = range(points().map(|p| p.0))?;
    let y = roomy(range(points().map(|p| p.1))?, lines.len());
    let root = SVGBackend::new(path, (760, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(labels.title, ("sans-serif", 20))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((x.0..x.1).log_scale().base(4.0), (y.0..y.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(labels.below)
        .y_desc(labels.beside)
        .x_label_formatter(&|bytes| size(*bytes))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let drawn =
            chart.draw_series(LineSeries::new(line.points.clone(), colour.stroke_width(2)))?;
        drawn
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.points.iter().map(|p| Circle::new(*p, 4, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

fn range(values: impl Iterator<Item = f64> + Clone) -> Result<(f64, f64)> {
    let (low, high) = (values.clone().reduce(f64::min), values.reduce(f64::max));
    low.zip(high).filter(|(low, _)| *low > 0.0).ok_or_else(|| "no point to draw".into())
}

/// A range with room below its points, and above them for a legend of so many lines.
fn roomy((low, high): (f64, f64), lines: usize) -> (f64, f64) {
    let (low, high) = (low / 1.3, high * 1.3);
    #[expect(clippy::cast_precision_loss, reason = "four lines at most")]
    let share = (0.08 + 0.05 * lines as f64).min(0.5);
    (low, high * (high / low).powf(share / (1.0 - share)))
}

/// Bytes, for people.
#[must_use]
pub fn size(bytes: f64) -> String {
    const UNITS: [(&str, f64); 4] =
        [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0), ("B", 1.0)];
    let (unit, scale) = UNITS.into_iter().find(|unit| bytes >= unit.1).unwrap_or(("B", 1.0));
    format!("{:.0} {unit}", bytes / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_written_and_one_of_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plot.svg");
        let labels = Labels { title: "open", below: "bytes of the log", beside: "ms" };
        let line = Line { name: "beyond", points: vec![(1048576.0, 2.0), (1e9, 3.0)] };
        write(&path, labels, &[line]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("bytes of the log") && text.contains("beyond"), "{text}");
        assert!(write(&path, labels, &[]).is_err());
    }

    #[test]
    fn a_legend_has_its_part_of_the_height() {
        let (low, high) = roomy((1.3, 10.0 / 1.3), 3);
        let of_points = (10.0_f64 / low).ln() / (high / low).ln();
        assert!((low - 1.0).abs() < 1e-9 && (of_points - 0.77).abs() < 1e-9, "{of_points}");
    }

    #[test]
    fn sizes_are_named_by_their_largest_unit() {
        assert_eq!([0.0, 128.0, 65536.0, 1.7e10].map(size), ["0 B", "128 B", "64 KiB", "16 GiB"]);
    }
}
