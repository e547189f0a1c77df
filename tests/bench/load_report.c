#include "load_report.h"

#include <stdio.h>

/* The distribution, for who draws it: shares and the microseconds below which they lie. */
static void
print_curve(const char *name, const struct load_hist *hist)
{
    static const double shares[] = {0.0,   0.01,  0.05,  0.1,   0.2,    0.3,    0.4,    0.5,    0.6,  0.7,
                                    0.75,  0.8,   0.85,  0.9,   0.925,  0.95,   0.97,   0.98,   0.99, 0.993,
                                    0.995, 0.997, 0.998, 0.999, 0.9993, 0.9995, 0.9997, 0.9999, 1.0};
    (void)printf("\"%s\":[", name);
    for (size_t i = 0; hist->n > 0 && i < sizeof shares / sizeof shares[0]; i++) {
        (void)printf("%s[%g,%.2f]", i > 0 ? "," : "", shares[i], load_hist_us(hist, shares[i]));
    }
    (void)printf("],");
}

static void
print_hist(const char *name, const struct load_hist *hist)
{
    (void)printf("\"%s\":{\"n\":%llu,\"mean_us\":%.2f,\"p50_us\":%.2f,\"p90_us\":%.2f,\"p99_us\":%.2f,\"p999_"
                 "us\":%.2f,"
                 "\"max_us\":%.2f},",
                 name, (unsigned long long)hist->n, load_hist_mean_us(hist), load_hist_us(hist, 0.5),
                 load_hist_us(hist, 0.9), load_hist_us(hist, 0.99), load_hist_us(hist, 0.999),
                 (double)hist->max_ns / 1000.0);
}

static void
print_count(const char *name, uint64_t value)
{
    (void)printf("\"%s\":%llu,", name, (unsigned long long)value);
}

/* With a rate: requests that should have begun before the end and never did. */
static uint64_t
load_overdue(const struct load *load)
{
    if (load->options.rate <= 0 || load->next_arrival_ns >= load->end_ns) {
        return 0;
    }
    return (uint64_t)((double)(load->end_ns - load->next_arrival_ns) * load->options.rate / 1e9) + 1;
}

void
load_report(const struct load *load)
{
    uint64_t last = load->last_answer_ns > load->measure_ns ? load->last_answer_ns : load->measure_ns;
    double timed_seconds = (double)(last - load->measure_ns) / 1e9;
    (void)printf("{\"mode\":\"%s\",", load->options.streams ? "streams" : "requests");
    print_count("connections", load->options.connections);
    print_count("answers", load->answers);
    print_count("errors", load->errors);
    print_count("bad_status", load->bad_status);
    print_count("cut", load->cut);
    print_count("timeouts", load->timeouts);
    print_count("incomplete", load->incomplete);
    print_count("begun", load->next_number);
    print_count("unfinished", load->busy);
    print_count("cancelled", load->cancelled);
    print_count("queued", load->queued);
    print_count("overdue", load_overdue(load));
    print_count("connects", load->reconnects);
    print_count("body_bytes", load->body_bytes);
    print_count("tokens", load->totals.tokens);
    print_count("lost", load->totals.lost);
    print_count("repeated", load->totals.repeated);
    print_count("out_of_order", load->totals.out_of_order);
    print_count("mixed", load->totals.mixed);
    print_count("unreadable", load->totals.unreadable);
    print_hist("latency", &load->latency);
    print_hist("first_token", &load->first_token);
    print_hist("delay", &load->totals.delay);
    print_hist("lag", &load->lag);
    print_curve("latency_curve", &load->latency);
    print_curve("delay_curve", &load->totals.delay);
    (void)printf("\"answers_per_s\":%.1f}\n",
                 timed_seconds > 0 ? (double)load->answers_timed / timed_seconds : 0.0);
}
