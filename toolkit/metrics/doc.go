// Package metrics shows a toolkit server to Prometheus.
//
//	toolkit.New().
//		Addr(":8080").
//		With(metrics.At("/metrics")).
//		Get("/hello/{name}", hello).
//		Run()
//
// What the server counts anyway is read when it is asked for. A request adds to four
// counters and a histogram, which takes some 0.2 us, no lock and no allocation. There are,
// beside those of Go and the process,
//
//	lastcall_connections                      open ones, by state: new, active, idle, parked, hijacked
//	lastcall_connections_accepted_total
//	lastcall_connections_refused_total        by reason: max_conns, max_conns_per_ip, no_descriptor
//	lastcall_connections_parked_total
//	lastcall_connections_unparked_total
//	lastcall_accept_errors_total              failures to accept, each retried
//	lastcall_starving                         1 while no connection can be accepted
//	lastcall_slow_clients_total               cut by the least rates, by what was slow: request, response
//
//	lastcall_requests_in_flight               that are with their handlers
//	lastcall_requests_total                   by route, method and status
//	lastcall_request_duration_seconds         as these, a histogram
//	lastcall_request_body_bytes_total         as these
//	lastcall_response_body_bytes_total        as these
//	lastcall_requests_refused_total           by MaxInFlight
//	lastcall_requests_unread_total            that fasthttp could not read, or that were too large, by status
//	lastcall_panics_total                     that were caught
//
//	lastcall_phase                            1 for the phase the server is in, else 0
//	lastcall_phase_seconds                    how long it has been in each
//	lastcall_drain_deadline_timestamp_seconds when the drain will be ended by force, while there is one
//	lastcall_drain_connections_accepted_total since it began
//	lastcall_drain_connections_closed_total   by how the drain closed them: last_called, with nothing pending, or cut
//	lastcall_drain_responses_told_total       that told their clients to close the connection
//	lastcall_hook_duration_seconds            of the hooks that have run, by stage and name
//	lastcall_hook_failures_total              as these
//
// A route is its pattern, that of an http.ServeMux below a NetHTTP route too, or "none";
// a method is one of those that RFC 9110 and RFC 5789 define, or "other"; a status is a
// class, as "2xx": clients can make no new series. Requests that net/http's
// server refuses itself are not counted, nor are those of probes, such as scrapes.
//
// A duration is the time from when a request's header (and its body, unless that is streamed) was
// read until its handler has returned: before the response is sent, and before a streamed
// one is made. The histogram has buckets from 1 ms to 10 s, and native ones, each at most
// 10 % wider than the one before, for those who scrape these. Bytes are those of bodies
// whose length is known by then: a native stream without one has 0.
package metrics
