// Package e2e tests the live page in a real browser. It is a module of its own, so that what
// drives the browser is in nobody's build: make e2e runs it.
package e2e
