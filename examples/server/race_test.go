//go:build race

package main

// raceEnabled says that the tests, and so the binary under test, look for races.
const raceEnabled = true
