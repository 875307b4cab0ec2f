//! Routes of a manifest and paths of clients: nothing panics, a route is written as it was read, and a parameter is no
//! longer than the path.

#![no_main]

use galo::route::{Route, Routes};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (Vec<&str>, Vec<&str>)| {
    let (routes, paths) = texts;
    let mut parsed = Vec::new();
    for text in routes {
        if let Ok(route) = text.parse::<Route>() {
            assert_eq!(route.to_string(), text);
            parsed.push((route.clone(), route));
        }
    }
    let Ok(routes) = Routes::new(parsed) else { return };
    for path in paths {
        for method in [Method::GET, Method::POST] {
            if let Ok((route, fields)) = routes.find(&method, path) {
                assert_eq!(*route.method(), method);
                assert_eq!(route.parameters().count(), fields.len());
                assert!(fields.iter().all(|field| !field.value.is_empty() && field.value.len() <= path.len()));
            }
        }
    }
});
