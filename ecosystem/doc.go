// Package ecosystem tests that what people build on net/http works when it is mounted on
// a server of package toolkit: routers, middleware, WebSockets, proxies, metrics, RPC.
// Each file has one project, its handlers on the server side and its real client, or the
// one that people use with it, on the other. It is a module of its own, so that none of
// it gets into users' module graphs.
package ecosystem
