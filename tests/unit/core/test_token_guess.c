/* The guess lies near what tokenizers count: one sentence in twenty languages, with the counts of cl100k_base
 * and o200k_base that OpenAI has published: "Hello GPT-4o", section "Language tokenization", of 13 May 2024,
 * https://openai.com/index/hello-gpt-4o/. Sentences and counts are those of that table, errors included. */
#include "core/token_guess.h"

#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
    const char *language;
    unsigned old; /* tokens of cl100k_base */
    unsigned now; /* of o200k_base */
    const char *text;
} published[] = {
    {"Gujarati", 145, 33,
     "હેલો, મારું નામ જીપીટી-4o છે. હું એક નવા પ્રકારનું "
     "ભાષા મોડલ છું. તમને મળીને સારું લાગ્યું!"},
    {"Telugu", 159, 45,
     "నమస్కారము, నా పేరు జీపీటీ-4o. నేను ఒక్క కొత్త రకమైన "
     "భాషా మోడల్ ని. మిమ్మల్ని కలిసినందుకు సంతోషం!"},
    {"Tamil", 116, 35,
     "வணக்கம், என் பெயர் ஜிபிடி-4o. நான் ஒரு புதிய வகை "
     "மொழி மாடல். உங்களை சந்தித்ததில் மகிழ்ச்சி!"},
    {"Marathi", 96, 33,
     "नमस्कार, माझे नाव जीपीटी-4o आहे| मी एक नवीन प्रकारची "
     "भाषा मॉडेल आहे| तुम्हाला भेटून आनंद झाला!"},
    {"Hindi", 90, 31,
     "नमस्ते, मेरा नाम जीपीटी-4o है। मैं एक नए प्रकार का "
     "भाषा मॉडल हूँ। आपसे मिलकर अच्छा लगा!"},
    {"Urdu", 82, 33,
     "ہیلو، میرا نام جی پی ٹی-4o ہے۔ میں ایک نئے قسم کا "
     "زبان ماڈل ہوں، آپ سے مل کر اچھا لگا!"},
    {"Arabic", 53, 26,
     "مرحبًا، اسمي جي بي تي-4o. أنا نوع جديد من نموذج اللغة، "
     "سررت بلقائك!"},
    {"Persian", 61, 32,
     "سلام، اسم من جی پی تی-۴او است. من یک نوع جدیدی از "
     "مدل زبانی هستم، از ملاقات شما خوشبختم!"},
    {"Russian", 39, 23,
     "Привет, меня зовут GPT-4o. Я — новая языковая модель, "
     "приятно познакомиться!"},
    {"Korean", 45, 27,
     "안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 "
     "언어 모델입니다, 만나서 반갑습니다!"},
    {"Vietnamese", 46, 30,
     "Xin chào, tên tôi là GPT-4o. Tôi là một loại mô hình ngôn ngữ mới, "
     "rất vui được gặp bạn!"},
    {"Chinese", 34, 24,
     "你好，我的名字是GPT-4o。我是一种新型的语言模型，"
     "很高兴见到你!"},
    {"Japanese", 37, 26,
     "こんにちは、私の名前はGPT-4oです。"
     "私は新しいタイプの言語モデルです。初めまして！"},
    {"Turkish", 39, 30,
     "Merhaba, benim adım GPT-4o. Ben yeni bir dil modeli türüyüm, "
     "tanıştığımıza memnun oldum!"},
    {"Italian", 34, 28,
     "Ciao, mi chiamo GPT-4o. Sono un nuovo tipo di modello linguistico, "
     "piacere di conoscerti!"},
    {"German", 34, 29,
     "Hallo, mein Name is GPT-4o. Ich bin ein neues KI-Sprachmodell. "
     "Es ist schön, dich kennenzulernen."},
    {"Spanish", 29, 26,
     "Hola, me llamo GPT-4o. Soy un nuevo tipo de modelo de lenguaje, "
     "¡es un placer conocerte!"},
    {"Portuguese", 30, 27,
     "Olá, meu nome é GPT-4o. Sou um novo tipo de modelo de linguagem, "
     "é um prazer conhecê-lo!"},
    {"French", 31, 28,
     "Bonjour, je m'appelle GPT-4o. Je suis un nouveau type de modèle de langage, "
     "c'est un plaisir de vous rencontrer!"},
    {"English", 27, 24,
     "Hello, my name is GPT-4o. I'm a new type of language model, "
     "it's nice to meet you!"},
};

/* From two fifths below the older tokenizer to a third above it, and at most a quarter below the newer one.
 * Farthest below are languages in Latin letters whose words English does not have. */
static void
it_lies_near_what_tokenizers_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(published); i++) {
        uint64_t guess = token_guess(dyn_slice_str(published[i].text));
        uint64_t old = published[i].old * (uint64_t)TOKEN_GUESS_UNIT;
        uint64_t now = published[i].now * (uint64_t)TOKEN_GUESS_UNIT;
        if (guess < old * 3 / 5 || guess > old * 4 / 3 || guess < now * 3 / 4) {
            fail_msg("%s: %u hundredths, published %u and %u tokens", published[i].language, (unsigned)guess,
                     published[i].old, published[i].now);
        }
    }
}

/* As core/token_guess.h says. */
static void
characters_have_the_weight_of_their_script(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned weight;
    } cases[] = {{"a", 25},   {"é", 75},   {"ж", 60},  {"α", 100},    {"ש", 100},       {"か", 100},
                 {"漢", 120}, {"한", 120}, {"क", 120}, {"த", 175},    {"ก", 100},       {"😀", 250},
                 {"𠀀", 350}, {"፩", 250},  {"", 0},    {"\xff", 100}, {"\xe6\xbc", 200}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_int_equal(token_guess(dyn_slice_str(cases[i].text)), cases[i].weight);
    }
}

static void
escapes_count_as_what_they_stand_for(void **state)
{
    (void)state;
    assert_int_equal(token_guess(DYN_SLICE("\\u6f22\\u5b57")), 240);
    assert_int_equal(token_guess(DYN_SLICE("\\ud83d\\ude00")), 250);
    assert_int_equal(token_guess(DYN_SLICE("\\n\\\"a\\\\")), 100);
    assert_int_equal(token_guess(DYN_SLICE("\\ud83d")), 250); /* half of one */
    assert_int_equal(token_guess(DYN_SLICE("\\u12")), 75);    /* not a string of JSON, but harmless */
    assert_int_equal(token_guess(DYN_SLICE("\\")), 25);
}

/* Wherever blocks begin and end. */
static void
a_text_is_the_sum_of_its_characters(void **state)
{
    (void)state;
    static const char *const pieces[] = {"漢", "é", "\\u6f22", "\\n", "\\ud83d\\ude00", "😀"};
    for (size_t before = 0; before < 140; before++) {
        for (size_t i = 0; i < DYN_ARRAY_LEN(pieces); i++) {
            struct dyn_buf text = DYN_BUF_INIT;
            uint64_t alone = token_guess(dyn_slice_str(pieces[i]));
            for (size_t n = 0; n < before; n++) {
                dyn_buf_add_char(&text, 'x');
            }
            dyn_buf_add_str(&text, pieces[i]);
            for (size_t n = 0; n < before; n++) {
                dyn_buf_add_char(&text, 'y');
            }
            assert_int_equal(token_guess(dyn_buf_slice(&text)), 2 * before * 25 + alone);
            dyn_buf_fini(&text);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_lies_near_what_tokenizers_count),
        cmocka_unit_test(characters_have_the_weight_of_their_script),
        cmocka_unit_test(escapes_count_as_what_they_stand_for),
        cmocka_unit_test(a_text_is_the_sum_of_its_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
