//! Two kinds of charts as SVG text: lines over places with the spread of each point, and stacked bars. They know
//! nothing of what they show.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::{Spread, brief};

const SIZE: (u32, u32) = (860, 440);
/// Around the drawing area: room for what is written there.
const MARGINS: [i32; 4] = [78, 70, 24, 58];
const FONT: &str = "sans-serif";

/// Colours that people who see red and green alike can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xd5, 0x5e, 0x00),
];
const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
const PALE: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// plotters's errors have the backend's type in them, and no caller distinguishes them.
type Drawn<T = ()> = Result<T, String>;

/// Lines over places.
pub struct Lines<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    /// What the places are.
    pub below: &'a str,
    pub places: Vec<String>,
    pub series: Vec<Series<'a>>,
    /// Whether each line of the grid is ten times the one below.
    pub powers: bool,
}

/// A line.
pub struct Series<'a> {
    pub name: &'a str,
    /// One of [`COLOURS`], by its place.
    pub colour: usize,
    /// A point for each place.
    pub points: Vec<Option<Spread>>,
}

/// Stacked bars.
pub struct Bars<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    /// The bars.
    pub places: &'a [&'a str],
    /// What each is stacked from, from the bottom.
    pub parts: &'a [&'a str],
    /// The colour of the first of them; the next has the next one.
    pub colour: usize,
    /// For each bar a number for each part.
    pub stacks: Vec<Vec<f64>>,
}

/// Draws lines.
pub fn lines(chart: &Lines<'_>) -> Drawn<String> {
    let points = || chart.series.iter().flat_map(|series| series.points.iter().flatten());
    let most = points().map(|point| point.most).fold(f64::MIN_POSITIVE, f64::max);
    let least = points().map(|point| point.least).fold(most, f64::min);
    let scale = if chart.powers { Scale::powers(least, most) } else { Scale::from_zero(most) };
    svg(|root| {
        let frame = Frame::draw(root, chart.title, chart.unit, &scale, chart.places.len())?;
        for (place, name) in chart.places.iter().enumerate() {
            frame.below(place, 8, name, 14)?;
        }
        text(root, chart.below, (frame.middle(), height() - 14), 13, GREY, HPos::Center)?;
        for Series { colour, points, .. } in &chart.series {
            let colour = COLOURS[colour % COLOURS.len()];
            let at = |place: usize, value: f64| (frame.x(place), frame.y(value));
            let found = || points.iter().enumerate().filter_map(|(place, point)| Some((place, (*point)?)));
            let line: Vec<_> = found().map(|(place, point)| at(place, point.median)).collect();
            root.draw(&PathElement::new(line, colour.stroke_width(2))).map_err(shown)?;
            for (place, point) in found() {
                let spread = vec![at(place, point.least), at(place, point.most)];
                root.draw(&PathElement::new(spread, colour.stroke_width(1))).map_err(shown)?;
                root.draw(&Circle::new(at(place, point.median), 4, colour.filled())).map_err(shown)?;
            }
        }
        legend(root, chart.series.iter().map(|series| (series.name, series.colour)))
    })
}

/// Draws bars.
pub fn bars(chart: &Bars<'_>) -> Drawn<String> {
    let most = chart.stacks.iter().map(|stack| stack.iter().sum::<f64>()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = Scale::from_zero(most);
    svg(|root| {
        let frame = Frame::draw(root, chart.title, chart.unit, &scale, chart.places.len())?;
        for (place, stack) in chart.stacks.iter().enumerate() {
            let mut below = 0.0;
            for (part, value) in stack.iter().enumerate() {
                let corners = [(frame.x(place) - 34, frame.y(below + value)), (frame.x(place) + 34, frame.y(below))];
                root.draw(&Rectangle::new(corners, COLOURS[(chart.colour + part) % COLOURS.len()].filled()))
                    .map_err(shown)?;
                below += value;
            }
            text(root, &brief(below), (frame.x(place), frame.y(below) - 19), 13, BLACK, HPos::Center)?;
            frame.below(place, 8, chart.places[place], 14)?;
        }
        legend(root, chart.parts.iter().enumerate().map(|(part, name)| (*name, chart.colour + part)))
    })
}

/// How high a value is: from 0 at the bottom to 1 at the top.
struct Scale {
    ticks: Vec<f64>,
    powers: bool,
}

impl Scale {
    /// From zero, in steps that people count in.
    fn from_zero(most: f64) -> Self {
        let rough = most / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let mut ticks = vec![0.0];
        while ticks.last().is_some_and(|tick| *tick < most * 1.02) {
            ticks.push(ticks.len().min(20) as f64 * step);
        }
        Self { ticks, powers: false }
    }

    /// From a power of ten to another.
    fn powers(least: f64, most: f64) -> Self {
        let mut ticks = vec![10f64.powf(least.max(1e-3).log10().floor())];
        while let Some(last) = ticks.last().filter(|last| **last < most) {
            ticks.push(last * 10.0);
        }
        Self { ticks, powers: true }
    }

    fn height(&self, value: f64) -> f64 {
        let (Some(first), Some(last)) = (self.ticks.first(), self.ticks.last()) else { return 0.0 };
        match self.powers {
            true => (value.max(*first) / first).log10() / (last / first).log10(),
            false => value / last,
        }
    }
}

/// The axes, and where things are between them.
struct Frame<'a, 'b> {
    root: &'a Area<'b>,
    scale: &'a Scale,
    places: usize,
}

impl<'a, 'b> Frame<'a, 'b> {
    fn draw(root: &'a Area<'b>, title: &str, unit: &str, scale: &'a Scale, places: usize) -> Drawn<Self> {
        let frame = Self { root, scale, places };
        let [left, ..] = MARGINS;
        text(root, title, (left, 14), 18, BLACK, HPos::Left)?;
        text(root, unit, (width() - MARGINS[2], 18), 13, GREY, HPos::Right)?;
        for tick in &scale.ticks {
            let y = frame.y(*tick);
            let line = vec![(left, y), (width() - MARGINS[2], y)];
            root.draw(&PathElement::new(line, PALE.stroke_width(1))).map_err(shown)?;
            let shown = format!("{}", (tick * 1e6).round() / 1e6);
            text(root, &shown, (left - 8, y - 7), 13, GREY, HPos::Right)?;
        }
        Ok(frame)
    }

    fn x(&self, place: usize) -> i32 {
        let slot = f64::from(width() - MARGINS[0] - MARGINS[2]) / self.places.max(1) as f64;
        MARGINS[0] + pixels(slot * (place as f64 + 0.5))
    }

    fn y(&self, value: f64) -> i32 {
        let bottom = height() - MARGINS[3];
        bottom - pixels(f64::from(bottom - MARGINS[1]) * self.scale.height(value))
    }

    fn middle(&self) -> i32 {
        i32::midpoint(MARGINS[0], width() - MARGINS[2])
    }

    fn below(&self, place: usize, by: i32, what: &str, size: i32) -> Drawn {
        text(self.root, what, (self.x(place), height() - MARGINS[3] + by), size, BLACK, HPos::Center)
    }
}

fn svg(draw: impl FnOnce(&Area<'_>) -> Drawn) -> Drawn<String> {
    let mut drawn = String::new();
    {
        let root = SVGBackend::with_string(&mut drawn, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(shown)?;
        draw(&root)?;
        root.present().map_err(shown)?;
    }
    Ok(drawn)
}

/// A line of names in their colours, above the drawing.
fn legend<'n>(root: &Area<'_>, names: impl Iterator<Item = (&'n str, usize)>) -> Drawn {
    // Widths of letters are not known without a font. One name of each colour fits, and the longest has room.
    let step = (width() - MARGINS[0] - MARGINS[2]) / COLOURS.len().try_into().unwrap_or(1);
    let mut x = MARGINS[0];
    for (name, colour) in names {
        let box_ = [(x, 43), (x + 12, 55)];
        root.draw(&Rectangle::new(box_, COLOURS[colour % COLOURS.len()].filled())).map_err(shown)?;
        text(root, name, (x + 18, 41), 14, BLACK, HPos::Left)?;
        x += step;
    }
    Ok(())
}

fn text(root: &Area<'_>, what: &str, at: (i32, i32), size: i32, colour: RGBColor, anchor: HPos) -> Drawn {
    let style = TextStyle::from((FONT, size).into_font()).color(&colour).pos(Pos::new(anchor, VPos::Top));
    root.draw(&Text::new(what.to_owned(), at, style)).map_err(shown)
}

fn width() -> i32 {
    SIZE.0.cast_signed()
}

fn height() -> i32 {
    SIZE.1.cast_signed()
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a drawing of some hundred pixels")]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_above_the_greatest_value() {
        assert_eq!(Scale::from_zero(9.5).ticks, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Scale::from_zero(101.0).ticks.last(), Some(&125.0));
        assert_eq!(Scale::powers(0.5, 70.0).ticks.len(), 4);
        assert!((Scale::powers(1.0, 100.0).height(10.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn every_name_is_in_the_drawing() {
        let point = Some(Spread { median: 2.0, least: 1.0, most: 3.0 });
        let chart = Lines {
            title: "a title",
            unit: "a unit",
            below: "places",
            places: vec!["8".to_owned(), "64".to_owned()],
            series: vec![
                Series { name: "one", colour: 0, points: vec![point, point] },
                Series { name: "two", colour: 1, points: vec![None, point] },
            ],
            powers: false,
        };
        let drawn = lines(&chart).unwrap();
        for name in ["a title", "a unit", "places", "one", "two", ">\n64\n"] {
            assert!(drawn.contains(name), "{name}");
        }
        let stacks = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
        let chart = Bars { title: "t", unit: "u", places: &["p", "q"], parts: &["one", "two"], colour: 0, stacks };
        assert!(bars(&chart).unwrap().contains("7.00"));
    }
}
