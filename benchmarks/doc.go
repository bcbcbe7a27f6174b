// Package benchmarks measures lastcall beside bare fasthttp and other servers; see
// README.md. It is a module of its own, so that what it compares with stays out of
// users' builds.
package benchmarks
