// Package e2e tests the live page in a real browser, and the Kubernetes manifest by
// Kubernetes' own types. It is a module of its own, so that what this needs is in nobody's
// build: make e2e runs it.
package e2e
