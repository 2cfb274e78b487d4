//! `prism.plugin.CustomMetrics`, to and from the call types.

use crate::wire;
use prism_plugin_abi::{CustomMetrics, Figure, MetricKind, Payload};
use prism_proto::{
    google::protobuf::Any,
    plugin::{CustomMetrics as Wire, custom_metrics as fields},
};
use prost::{Message, Name};

/// Numbers of the fields of `CustomMetrics`.
const METRICS: u32 = 1;
const LEFT_OUT: u32 = 2;

/// The longest figure that is looked at. One whose name and labels are all of the greatest length takes half.
const LONGEST: usize = 4 << 10;

/// Reads what a plugin says in `PluginMetrics.custom_metrics`.
///
/// Figure by figure, so that a message of any length takes no more memory than [`CustomMetrics`] does. What
/// is no figure is counted as left out; a message of another type is a plugin's own business and says nothing.
#[must_use]
pub(crate) fn read_custom(any: Option<&Any>) -> CustomMetrics {
    let mut metrics = CustomMetrics::new();
    let Some(any) = any else { return metrics };
    if any.type_url.rsplit('/').next() != Some(&*Wire::full_name()) {
        return metrics;
    }
    let mut message = Payload::from(any.value.clone());
    loop {
        match wire::next_field(&mut message) {
            Ok(None) => return metrics,
            Ok(Some((METRICS, value))) => match value.bytes() {
                Ok(figure) => read_figure(&mut metrics, figure),
                Err(_) => metrics.leave_out(1),
            },
            Ok(Some((LEFT_OUT, value))) => metrics.leave_out(value.number().unwrap_or(1)),
            Ok(Some(_)) => {}
            // Where the next field begins is not known.
            Err(_) => {
                metrics.leave_out(1);
                return metrics;
            }
        }
    }
}

fn read_figure(metrics: &mut CustomMetrics, figure: Payload) {
    if figure.len() > LONGEST {
        return metrics.leave_out(1);
    }
    let Ok(figure) = fields::Metric::decode(figure.into_bytes()) else { return metrics.leave_out(1) };
    let kind = match fields::Kind::try_from(figure.kind) {
        Ok(fields::Kind::Counter) => MetricKind::Counter,
        // A kind of a later version may shrink, for all we know.
        Ok(fields::Kind::Gauge | fields::Kind::Unspecified) | Err(_) => MetricKind::Gauge,
    };
    let labels = figure.labels.iter().map(|(label, value)| (&**label, &**value));
    metrics.add(kind, &figure.name, labels, figure.value);
}

/// What a plugin says in `PluginMetrics.custom_metrics`; `None` when it has nothing to say.
#[must_use]
pub(crate) fn write_custom(metrics: &CustomMetrics) -> Option<Any> {
    if metrics.is_empty() {
        return None;
    }
    let write = |(figure, value): (&Figure, f64)| fields::Metric {
        name: figure.name.clone(),
        kind: match figure.kind {
            MetricKind::Counter => fields::Kind::Counter.into(),
            MetricKind::Gauge => fields::Kind::Gauge.into(),
        },
        labels: figure.labels.clone().into_iter().collect(),
        value,
    };
    let message = Wire { metrics: metrics.iter().map(write).collect(), left_out: metrics.left_out() };
    Some(Any { type_url: Wire::type_url(), value: message.encode_to_vec().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any(message: &Wire) -> Any {
        Any { type_url: Wire::type_url(), value: message.encode_to_vec().into() }
    }

    fn metric(name: &str, kind: i32, value: f64) -> fields::Metric {
        fields::Metric { name: name.to_owned(), kind, value, ..Default::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut metrics = CustomMetrics::new().counter("evictions", 3.0).gauge("depth", -2.5).with(
            MetricKind::Gauge,
            "lag_seconds",
            [("topic", "a"), ("partition", "7")],
            0.25,
        );
        for number in 0..2_000 {
            metrics.add(MetricKind::Counter, &format!("c{number}"), [], 1.0);
        }
        assert!(metrics.left_out() > 0);
        assert_eq!(read_custom(write_custom(&metrics).as_ref()), metrics);
        assert_eq!(write_custom(&CustomMetrics::new()), None);
        assert!(read_custom(None).is_empty());
    }

    #[test]
    fn what_is_no_figure_is_counted() {
        let long = fields::Metric {
            labels: (0..1_000).map(|label| (format!("label{label}"), String::new())).collect(),
            ..metric("long", 2, 1.0)
        };
        let message = Wire {
            metrics: vec![
                metric("", 1, 1.0),
                metric("nan", 2, f64::NAN),
                metric("fell", 1, -1.0),
                long,
                metric("fine", 77, 1.0),
            ],
            left_out: 10,
        };
        let metrics = read_custom(Some(&any(&message)));
        assert_eq!((metrics.iter().len(), metrics.left_out()), (1, 14));
        let (figure, value) = metrics.iter().next().unwrap();
        assert_eq!((figure.kind, &*figure.name, value), (MetricKind::Gauge, "fine", 1.0));
    }

    #[test]
    fn a_message_of_another_type_says_nothing() {
        let other = Any { type_url: "type.googleapis.com/mine.Metrics".into(), value: vec![0xff].into() };
        assert!(read_custom(Some(&other)).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(value: Vec<u8>) {
            let any = Any { type_url: Wire::type_url(), value: value.into() };
            let metrics = read_custom(Some(&any));
            prop_assert!(metrics.iter().all(|(_, value)| value.is_finite()));
        }

        #[test]
        fn a_broken_message_ends_where_it_breaks(cut in 0_usize..40) {
            let message = Wire { metrics: vec![metric("a", 1, 1.0), metric("b", 1, 1.0), metric("c", 1, 1.0)], left_out: 0 };
            let mut any = any(&message);
            any.value.truncate(cut);
            let metrics = read_custom(Some(&any));
            prop_assert!(metrics.iter().len() <= 3 && metrics.left_out() <= 1);
        }
    }
}
