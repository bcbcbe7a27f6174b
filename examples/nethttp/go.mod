module github.com/lastcall-go/lastcall/examples/nethttp

go 1.26.0

replace github.com/lastcall-go/lastcall => ../..

require (
	github.com/go-chi/chi/v5 v5.5.0
	github.com/lastcall-go/lastcall v0.0.0-00010101000000-000000000000
	github.com/valyala/fasthttp v1.77.0
)

require (
	github.com/fasthttp/websocket v1.5.12 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/molecule-man/go-brrr v1.3.1 // indirect
	github.com/savsgio/gotils v0.0.0-20240704082632-aef3928b8a38 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
