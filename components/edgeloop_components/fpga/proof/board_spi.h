// The module `top` as an SPI slave, mode 0, pin by pin, as fast as it may be. The master sends a request, then 00 while it reads the reply.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

class Board {
  public:
    explicit Board(FILE*) {
        top_.clk = top_.sck = top_.mosi = 0;
        top_.cs_n = 1;
        top_.eval();
        run(20);
    }

    void give(unsigned char byte) { exchange(byte); }

    // Reads from the first moment on, so that a reply may become ready at any clock of a byte; until there was nothing but 00
    // for a while, which is more than a reply can hold in a row.
    void pause() {
        std::vector<unsigned char> heard;
        size_t last = 0;
        for (const uint64_t begun = now_; now_ < begun + 20'000 || heard.size() < last + 64;) {
            heard.push_back(exchange(0));
            if (heard.back()) last = heard.size();
        }
        heard.resize(last ? last + 8 : 0);
        out.insert(out.end(), heard.begin(), heard.end());
    }

    void quiet() { run(2ULL << QUIET_BITS), pause(); }

    std::vector<unsigned char> out;

  private:
    unsigned char exchange(unsigned char byte) {
        unsigned char read = 0;
        top_.cs_n = 0;
        run(gap_++ % 7);
        for (int k = 7; k >= 0; --k) {
            top_.mosi = byte >> k & 1;
            run(3);
            top_.sck = 1;
            read = static_cast<unsigned char>(read << 1 | top_.miso);
            run(3);
            top_.sck = 0;
        }
        return read;
    }

    void run(uint64_t clocks) {
        for (; clocks; --clocks) {
            top_.clk = 1;
            top_.eval();
            top_.clk = 0;
            top_.eval();
            ++now_;
        }
    }

    Vtop top_;
    uint64_t now_ = 0;
    unsigned gap_ = 0;
};
