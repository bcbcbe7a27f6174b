package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/valyala/fasthttp"
)

// shop has items, and tells their prices.
type shop struct {
	items    sync.Map // of item, by their id
	asked    atomic.Int64
	closed   chan struct{} // when streams are to end
	closeOne sync.Once
}

type item struct {
	ID    string  `json:"id"`
	Price float64 `json:"price"`
}

func newShop() *shop {
	s := &shop{closed: make(chan struct{})}
	s.items.Store("tea", item{"tea", 4.5})
	return s
}

func (s *shop) close() { s.closeOne.Do(func() { close(s.closed) }) }

func (s *shop) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer, middleware.GetHead)
	r.Route("/items", func(r chi.Router) {
		r.Use(middleware.NoCache)
		r.With(middleware.Timeout(5*time.Second)).Put("/{id}", s.put)
		r.Get("/{id}", s.getNet)
	})
	r.Get("/events", s.events)
	return r
}

func (s *shop) put(w http.ResponseWriter, r *http.Request) {
	one := item{ID: chi.URLParam(r, "id")}
	if err := json.NewDecoder(r.Body).Decode(&one.Price); err != nil {
		http.Error(w, "want a price", http.StatusBadRequest)
		return
	}
	s.items.Store(one.ID, one)
	w.WriteHeader(http.StatusNoContent)
}

// getNet is the hot route as it was.
func (s *shop) getNet(w http.ResponseWriter, r *http.Request) {
	one, ok := s.items.Load(chi.URLParam(r, "id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	s.asked.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(one) // else the client has gone
}

// get is the hot route as it is.
func (s *shop) get(ctx *fasthttp.RequestCtx) {
	one, ok := s.items.Load(ctx.UserValue("id"))
	if !ok {
		ctx.Error("404 page not found", fasthttp.StatusNotFound)
		return
	}
	s.asked.Add(1)
	ctx.SetContentType("application/json")
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-cache") // chi's NoCache is not in front of it
	_ = json.NewEncoder(ctx).Encode(one)
}

// events streams how often prices were asked for, until the client goes or the shop closes.
func (s *shop) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		fmt.Fprintf(w, "data: %d\n\n", s.asked.Load())
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.closed:
			return
		case <-r.Context().Done():
			return
		}
	}
}
